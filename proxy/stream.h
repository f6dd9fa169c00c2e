// One TCP connection, plain or TLS, with a deadline.
#pragma once

#include <array>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/buffer.h"
#include "proxy/net.h"

namespace ledger {

class Stream;

// Cancels streams whose deadline has passed. One for each io_context; a coarse tick (50 ms) while
// any stream has a deadline, so that setting one costs no system call and no timer of its own.
//
// A wheel of slots, one a tick: a stream is looked at when its slot comes up, and filed again where
// its deadline was moved meanwhile. Later deadlines therefore cost one comparison.
class Deadlines {
 public:
  explicit Deadlines(asio::io_context& context);
  ~Deadlines();
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;
  asio::io_context& context() { return context_; }

 private:
  friend class Stream;
  // Shared with the streams, because some go only when their io_context does, after this object.
  struct Registry {
    static constexpr std::int64_t slot_count = 64;
    void file(Stream& stream);
    void remove(Stream& stream);
    void visit(std::int64_t tick, SteadyClock::time_point now);

    std::array<std::vector<Stream*>, slot_count> slots;
    std::size_t filed = 0;
    std::int64_t ticked = 0;     // the last tick whose slot was visited
    Deadlines* owner = nullptr;  // null once it is gone
  };
  void start();
  void arm();
  void tick();
  asio::io_context& context_;
  Timer timer_;
  bool ticking_ = false;
  std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
};

struct Transfer {
  ErrorCode error;
  std::size_t bytes = 0;
};

// Not movable: operations in progress point here. Own it by unique_ptr or in place.
class Stream {
 public:
  Stream(Socket socket, Deadlines& deadlines);
  ~Stream();  // closes
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Connects an open socket.
  Awaitable<ErrorCode> connect(const asio::ip::tcp::endpoint& endpoint);

  // One read, which fills `to`. 0 bytes and asio::error::eof at the end; a TLS end without
  // close_notify is asio::ssl::error::stream_truncated. A passed deadline is
  // asio::error::timed_out.
  Awaitable<Transfer> read_some(Buffer& to);
  // Writes everything (gathered into one send where the kernel takes it).
  using Buffers = std::array<asio::const_buffer, 2>;
  Awaitable<Transfer> write(Buffers buffers);
  Awaitable<Transfer> write(asio::const_buffer buffer) { return write(Buffers{buffer}); }
  // The same without a coroutine, as far as the kernel takes it at once, which is nearly always
  // whole: then true. Else `buffers` becomes what is left, for write(), which also finds what went
  // wrong. It does not wait, so deadlines do not count; nothing of TLS.
  bool write_now(Buffers& buffers);

  // Operations under way or begun later fail with timed_out once `when` has passed (within 50 ms).
  // May be called while one is under way.
  void expires_at(SteadyClock::time_point when) {
    deadline_ = when;
    if (when < visited_at_) registry_->file(*this);
  }
  void expires_after(SteadyClock::duration d) { expires_at(SteadyClock::now() + d); }
  void expires_never() { deadline_ = SteadyClock::time_point::max(); }

  // TLS. `start_tls` wraps the socket (plain until then); the handshakes verify as `context` says.
  // As client: SNI and the certificate's name are checked against `host` (IP addresses too).
  Awaitable<ErrorCode> handshake_as_client(asio::ssl::context& context, const std::string& host);
  // As server: `first` was read from the socket already; `prepare` sees the connection before it
  // begins. Afterwards the peer's close_notify alone is an end.
  using Prepare = std::function<void(SSL*)>;
  Awaitable<ErrorCode> handshake_as_server(asio::ssl::context& context, std::string first = {},
                                           const Prepare& prepare = {});
  bool is_tls() const { return tls_ != nullptr; }
  // How reading ended, once it has: an end, or what failed (see tls_reason).
  const ErrorCode& ended() const { return ended_; }
  // Why the peer's certificate was refused, for a person ("certificate has expired"); else empty.
  const std::string& certificate_error() const { return certificate_error_; }

  // Nothing to read and not at EOF, right now? (A look without waiting.) An idle connection that
  // fails this must not carry a call. Only while no operation is under way. On TLS, records that
  // carry no data (the session tickets that TLS 1.3 servers send late) are taken in and do not
  // count.
  bool idle_and_open();

  // Half-close: FIN (TLS: close_notify first, best effort).
  Awaitable<> shutdown_send();
  // Aborts: operations under way fail. Idempotent.
  void close();
  Socket& socket() { return socket_; }
  Executor get_executor() { return socket_.get_executor(); }

 private:
  friend class Deadlines;
  class Pending;
  ErrorCode result(ErrorCode error) const;
  bool expired() const {
    return deadline_ != SteadyClock::time_point::max() && deadline_ <= SteadyClock::now();
  }
  Transfer receive_now(asio::mutable_buffer buffer);
  Transfer send_now(const Buffers& buffers);
  Awaitable<ErrorCode> close_notify();
  ErrorCode expect_name(const std::string& host);
  using Tls = asio::ssl::stream<Socket&>;
  Socket socket_;
  std::unique_ptr<Tls> tls_;
  std::shared_ptr<Deadlines::Registry> registry_;
  // Where the wheel has it: a slot (-1: none), its place there, and when that comes up.
  int slot_ = -1;
  std::size_t index_ = 0;
  SteadyClock::time_point visited_at_ = SteadyClock::time_point::max();
  SteadyClock::time_point deadline_ = SteadyClock::time_point::max();
  int pending_ = 0;         // operations under way
  bool timed_out_ = false;  // the deadline cancelled them
  ErrorCode ended_;         // how reading ended, once it has
  std::string certificate_error_;
};

// What went wrong in TLS, for a person: OpenSSL's reason, or "the connection was closed".
std::string tls_reason(const ErrorCode& error);

}  // namespace ledger
