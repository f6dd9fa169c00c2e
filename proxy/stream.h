// One TCP connection, plain or TLS, with a deadline.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "proxy/net.h"

namespace ledger {

class Stream;

// Cancels streams whose deadline has passed. One for each io_context; a coarse tick (50 ms) while
// any stream has a deadline, so that setting one costs no system call and no timer of its own.
class Deadlines {
 public:
  explicit Deadlines(asio::io_context& context);
  asio::io_context& context() { return context_; }

 private:
  friend class Stream;
  // Shared with the streams, because some go only when their io_context does, after this object.
  struct Registry {
    std::vector<Stream*> streams;  // each knows its own index
    void remove(const Stream* stream);
  };
  void add(Stream* stream);
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

  // One read. 0 bytes and asio::error::eof at the end; a TLS end without close_notify is
  // asio::ssl::error::stream_truncated. A passed deadline is asio::error::timed_out.
  Awaitable<Transfer> read_some(asio::mutable_buffer buffer);
  // Writes everything (gathered into one send where the kernel takes it).
  Awaitable<Transfer> write(asio::const_buffer buffer);
  Awaitable<Transfer> write(const std::vector<asio::const_buffer>& buffers);

  // Operations under way or begun later fail with timed_out once `when` has passed (within 50 ms).
  void expires_at(SteadyClock::time_point when) { deadline_ = when; }
  void expires_after(SteadyClock::duration d) { deadline_ = SteadyClock::now() + d; }
  void expires_never() { deadline_ = SteadyClock::time_point::max(); }

  // TLS. `start_tls` wraps the socket (plain until then); the handshakes verify as `context` says.
  // As client: SNI and the certificate's name are checked against `host` (IP addresses too).
  Awaitable<ErrorCode> handshake_as_client(asio::ssl::context& context, const std::string& host);
  Awaitable<ErrorCode> handshake_as_server(asio::ssl::context& context);
  bool is_tls() const { return tls_ != nullptr; }
  // Why the peer's certificate was refused, for a person ("certificate has expired"); else empty.
  const std::string& certificate_error() const { return certificate_error_; }

  // Nothing to read and not at EOF, right now? (A look without waiting.) An idle connection that
  // fails this must not carry a call.
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
  using Tls = asio::ssl::stream<Socket&>;
  Socket socket_;
  std::unique_ptr<Tls> tls_;
  std::shared_ptr<Deadlines::Registry> registry_;
  std::size_t index_ = 0;
  SteadyClock::time_point deadline_ = SteadyClock::time_point::max();
  int pending_ = 0;         // operations under way
  bool timed_out_ = false;  // the deadline cancelled them
  std::string certificate_error_;
};

}  // namespace ledger
