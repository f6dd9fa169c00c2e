// MessageReader: where a message ends in the stream of bytes, and what of it has arrived.
#include <algorithm>
#include <boost/assert.hpp>

#include "proxy/chunks.h"
#include "proxy/head_parser.h"
#include "proxy/message.h"
#include "proxy/syntax.h"

namespace ledger {
namespace {

constexpr std::size_t decoded_keep_max = 8'192;  // an idle connection is small

}  // namespace

struct MessageReader::Impl {
  Impl(Stream& s, Side which, std::size_t max)
      : stream(s), side(which), head_max(max), parser(which) {}

  Stream& stream;
  const Side side;
  const std::size_t head_max;
  Buffer buffer;
  HeadParser parser;
  ChunkDecoder chunks;
  // How far the next head was looked through.
  struct Scan {
    bool begun = false;
    bool first = true;     // nothing but an empty line before the request line has been seen
    std::size_t seen = 0;  // bytes without the end
    std::size_t line = 0;  // where the last line begins
  } scan;
  std::uint64_t left = 0;  // Framing::length: still to come
  bool done = true;        // the present message has ended
  bool at_eof = false;
  std::uint64_t bytes = 0;
  std::string decoded;  // a piece that the buffer does not hold as it is

  void consume(std::size_t n) {
    buffer.consume(n);
    bytes += n;
  }
  ReadError filled(const Transfer& got);
  std::optional<ReadError> find_head_end(std::size_t& size);
  void begin_body();
  std::optional<ReadError> chunk_now(std::string_view& piece, std::size_t max);
};

MessageReader::MessageReader(Stream& stream, Side side, std::size_t head_max)
    : impl_(std::make_unique<Impl>(stream, side, head_max)) {}
MessageReader::~MessageReader() = default;

const Head& MessageReader::head() const { return impl_->parser.head(); }
const std::string& MessageReader::detail() const { return impl_->parser.detail(); }
bool MessageReader::body_done() const { return impl_->done; }
bool MessageReader::has_buffered() const { return !impl_->buffer.empty(); }
std::uint64_t MessageReader::bytes_read() const { return impl_->bytes; }

bool MessageReader::body_ready() const {
  const auto& m = *impl_;
  if (m.done) return true;
  if (m.buffer.empty() || head().framing != Framing::chunked) return !m.buffer.empty();
  auto ahead = m.chunks;  // what is buffered may be half a chunk line
  const auto step = ahead.decode(m.buffer.rest(), nullptr, 1);
  return step.given > 0 || ahead.done() || !ahead.fault().empty();
}

std::string_view MessageReader::buffered() const { return impl_->buffer.rest(); }

Awaitable<ReadError> MessageReader::read_more() {
  auto& m = *impl_;
  co_return m.filled(co_await m.stream.read_some(m.buffer));
}

std::string MessageReader::take_buffered() {
  std::string taken(impl_->buffer.rest());
  impl_->consume(taken.size());
  return taken;
}

Awaitable<ReadError> MessageReader::wait_for_bytes() {
  auto& m = *impl_;
  if (has_buffered()) co_return ReadError::none;
  m.parser.forget();
  const auto error = m.filled(co_await m.stream.read_some(m.buffer));
  co_return error == ReadError::truncated ? ReadError::closed : error;
}

void MessageReader::shrink() {
  impl_->buffer.park();
  if (impl_->decoded.capacity() > decoded_keep_max) impl_->decoded = {};
}

ReadError MessageReader::Impl::filled(const Transfer& got) {
  if (got.bytes > 0) return ReadError::none;
  at_eof = got.error == asio::error::eof;
  return got.error == asio::error::timed_out ? ReadError::timed_out : ReadError::truncated;
}

// The size of the head at the front of the buffer, its empty line included; nullopt: its end has
// not come yet. Only CRLF ends a line: RFC 9112 section 2.2 lets a bare LF through, and so did what
// was smuggled.
std::optional<ReadError> MessageReader::Impl::find_head_end(std::size_t& size) {
  auto text = buffer.rest();
  if (scan.first && side == Side::requests && text.starts_with("\r\n")) {
    consume(2);  // RFC 9112 section 2.2: one is skipped
    scan.first = false;
    text = buffer.rest();
  }
  // Bytes that begin no message (TLS on a plain port) are not waited upon.
  if (!text.empty() && text[0] != '\r' && !is_token_char(text[0]))
    return parser.fail(ReadError::malformed, "something that is not HTTP");
  for (auto at = text.find('\n', scan.seen); at != text.npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r')
      return parser.fail(ReadError::malformed, "a bare LF in the header");
    if (at == 1) return parser.fail(ReadError::malformed, "an empty first line");
    if (at == scan.line + 1) {
      size = at + 1;
      if (size <= head_max) return ReadError::none;
      return parser.fail(ReadError::head_too_large, "the header is too large");
    }
    scan.line = at + 1;
  }
  if (text.size() > head_max)
    return parser.fail(ReadError::head_too_large, "the header is too large");
  scan.seen = text.size() == 1 ? 0 : text.size();  // one may be half of the empty line
  return std::nullopt;
}

std::optional<ReadError> MessageReader::head_now(bool to_head) {
  auto& m = *impl_;
  if (!m.scan.begun) {
    m.scan.begun = true;
    m.parser.forget();
    m.bytes = 0;
    m.done = true;
  }
  std::size_t size = 0;
  auto error = m.find_head_end(size);
  if (!error) return error;
  m.scan = {};
  if (*error != ReadError::none) return error;
  error = m.parser.parse(m.buffer.rest().substr(0, size), to_head);
  m.consume(size);
  if (m.buffer.empty()) m.buffer.park();
  if (*error == ReadError::none) m.begin_body();
  return error;
}

Awaitable<ReadError> MessageReader::read_head(bool to_head) {
  auto& m = *impl_;
  for (;;) {
    if (const auto error = head_now(to_head)) co_return *error;
    const bool nothing = m.buffer.empty();
    const auto error = m.filled(co_await m.stream.read_some(m.buffer));
    if (error == ReadError::none) continue;
    m.scan = {};
    const bool closed = nothing && error == ReadError::truncated;
    co_return closed ? ReadError::closed : error;
  }
}

void MessageReader::Impl::begin_body() {
  const auto& head = parser.head();
  left = head.framing == Framing::length ? head.content_length : 0;
  done = head.framing == Framing::none || (head.framing == Framing::length && left == 0);
  if (head.framing == Framing::chunked) chunks.reset(head_max);
}

std::optional<ReadError> MessageReader::piece_now(std::string_view& piece, std::size_t max) {
  auto& m = *impl_;
  BOOST_ASSERT(max > 0);
  piece = {};
  if (m.done) return ReadError::none;
  const auto framing = head().framing;
  if (framing == Framing::chunked) return m.chunk_now(piece, max);
  if (m.buffer.empty()) return std::nullopt;
  const bool to_close = framing == Framing::until_close;
  piece = m.buffer.rest().substr(0, to_close ? max : std::min<std::uint64_t>(m.left, max));
  m.consume(piece.size());
  if (to_close) return ReadError::none;
  m.left -= piece.size();
  m.done = m.left == 0;
  return ReadError::none;
}

std::optional<ReadError> MessageReader::Impl::chunk_now(std::string_view& piece, std::size_t max) {
  decoded.clear();
  const auto step = chunks.decode(buffer.rest(), &decoded, max);
  consume(step.used);
  if (!chunks.fault().empty()) {
    parser.explain(chunks.fault());
    return ReadError::malformed;
  }
  done = chunks.done();
  if (!done && step.given == 0) return std::nullopt;
  piece = decoded;
  return ReadError::none;
}

// RFC 9112 section 6.3: a body without a length is complete on FIN. TLS that ends without
// close_notify may have been cut, and reads as truncated (section 9.8).
Awaitable<ReadError> MessageReader::read_piece(std::string_view& piece, std::size_t max) {
  auto& m = *impl_;
  for (;;) {
    if (const auto error = piece_now(piece, max)) co_return *error;
    const auto error = m.filled(co_await m.stream.read_some(m.buffer));
    if (error == ReadError::none) continue;
    m.done = head().framing == Framing::until_close && error == ReadError::truncated && m.at_eof;
    co_return m.done ? ReadError::none : error;
  }
}

Awaitable<ReadError> MessageReader::read_body(std::string& out, std::size_t max) {
  std::string_view piece;
  const auto error = co_await read_piece(piece, max);
  out.append(piece);
  if (!has_buffered()) shrink();
  co_return error;
}

}  // namespace ledger
