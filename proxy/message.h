// The proxy's own small HTTP/1.1 message: a head as flat text with offsets, a body as it streams
// by. Heads are parsed by Beast's basic_parser (no http::message) and checked in head_parser.cc,
// chunks in chunks.cc; strictly: see docs/ARCHITECTURE.md, "Framing". Sources: RFC 9110, RFC 9112.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fingerprint/identity.h"
#include "proxy/stream.h"

namespace ledger {

enum class Framing : std::uint8_t {
  none,        // no body: a request without one, HEAD, 1xx, 204, 304
  length,      // Content-Length
  chunked,     // Transfer-Encoding: chunked
  until_close  // a response that ends with its connection
};

// What a proxy must know a field as; told once, when the head is parsed.
enum class FieldKind : std::uint8_t {
  other,
  host,
  connection,
  hop_by_hop,  // always: see HopByHop
  content_length,
  transfer_encoding,
  expect,
  via,
  page,             // Origin, Sec-Fetch-Site: of what web page a browser sends this
  method_override,  // see is_method_override
  authentication,   // may speak for the whole connection, see Head::binds_connection
  ledger,           // Ledger-*
};

// A message's head. Views stay valid until the reader's next read_head() or wait_for_bytes().
struct Head {
  // Request: method, target. Response: status, reason.
  std::string_view method, target, reason;
  std::string_view host;             // request: Host; empty where absent
  std::string_view method_override;  // request: the method that headers name; empty: none
  int status = 0;
  int version = 11;                // 10 or 11
  std::vector<HeaderView> fields;  // in order, values trimmed; names as received
  std::vector<FieldKind> kinds;    // of each field
  Framing framing = Framing::none;
  std::uint64_t content_length = 0;  // Framing::length
  bool keep_alive = true;            // as the peer said (RFC 9112 section 9.3)
  bool expect_continue = false;      // request: Expect: 100-continue
  // Speaks of a scheme that authenticates the connection and not the request (NTLM, Negotiate; RFC
  // 4559): what comes next on this connection is answered as that account.
  bool binds_connection = false;
  // To WebSocket, and nothing else: request: it is asked for (a GET without a body); a 101: it is
  // done.
  bool upgrade = false;

  // The first field of that name, compared without case; empty where absent.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const;
};

bool iequals(std::string_view a, std::string_view b);  // ASCII
// Is `token` in a comma-separated list (without case)?
bool list_has(std::string_view list, std::string_view token);

// Header fields that live on one connection only (RFC 9110 section 7.6.1): Connection and what it
// names, Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, TE, Trailer,
// Transfer-Encoding, Upgrade, HTTP2-Settings.
class HopByHop {
 public:
  explicit HopByHop(const Head& head);  // outlives it
  bool contains(std::size_t field) const;

 private:
  const Head& head_;
  std::vector<std::string_view> named_;  // by Connection, beyond what never crosses anyway
};

// What went wrong in reading a message.
enum class ReadError : std::uint8_t {
  none,
  closed,     // EOF before its first byte: not an error between messages
  truncated,  // EOF or reset inside it
  timed_out,
  head_too_large,
  malformed,       // detail() says what
  not_implemented  // a Transfer-Encoding other than chunked (detail() says it)
};

// Reads messages from one stream, one after the other. Owned beside its stream; one coroutine at a
// time.
class MessageReader {
 public:
  enum class Side : std::uint8_t { requests, responses };
  MessageReader(Stream& stream, Side side, std::size_t head_max);
  ~MessageReader();
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;

  // Reads the next head. `to_head`: a response to HEAD (it has no body whatever its fields say).
  // Refuses as malformed: CL together with TE, differing or non-digit CLs, obs-fold, a bare LF or
  // CR, white space before a colon, a NUL, an HTTP/1.1 request without exactly one Host (CONNECT
  // and HTTP/1.0 excepted from "without"), TE in HTTP/1.0, a version other than 1.0 and 1.1,
  // method overrides that are no methods or differ.
  Awaitable<ReadError> read_head(bool to_head = false);
  // The same without a coroutine, where the head is here already; nullopt where it is not.
  std::optional<ReadError> head_now(bool to_head = false);
  const Head& head() const;
  const std::string& detail() const;

  // One more piece of the body (de-chunked), of `max` bytes at most, reading from the stream only
  // where none is here; sets body_done() at its end. Trailers are dropped. `piece` is valid until
  // this reader reads again.
  Awaitable<ReadError> read_piece(std::string_view& piece, std::size_t max = 65'536);
  // The same without a coroutine, of what is here already; nullopt where nothing is.
  std::optional<ReadError> piece_now(std::string_view& piece, std::size_t max = 65'536);
  // Appends one more piece to `out`.
  Awaitable<ReadError> read_body(std::string& out, std::size_t max = 65'536);
  bool body_done() const;
  // Gives back the memory of large reads, between two messages.
  void shrink();

  // Would read_body() give something (or the end) without waiting for the stream?
  bool body_ready() const;
  // Has any byte beyond the present message arrived already?
  bool has_buffered() const;
  // What was read beyond the present message; read_more() waits for more of it. take_buffered()
  // takes it away: the first bytes of an upgraded or tunnelled stream.
  std::string_view buffered() const;
  Awaitable<ReadError> read_more();
  std::string take_buffered();
  // Waits until the next message's first byte is there. closed at EOF.
  Awaitable<ReadError> wait_for_bytes();
  // Bytes of the present message (head and body) read so far.
  std::uint64_t bytes_read() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// --- writing ----------------------------------------------------------------------------------

// Appends to `out`; the caller reuses the buffer.
void append_request_line(std::string& out, std::string_view method, std::string_view target);
void append_status_line(std::string& out, int status,
                        std::string_view reason);  // reason "" = the standard one
void append_field(std::string& out, std::string_view name, std::string_view value);
void append_field(std::string& out, std::string_view name, std::uint64_t value);
// One chunk with its size line and CRLFs (nothing for empty data); the last chunk.
void append_chunk(std::string& out, std::string_view data);
void append_last_chunk(std::string& out);

}  // namespace ledger
