#include "proxy/stream.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/write.hpp>

namespace ledger {
namespace {
constexpr std::chrono::milliseconds tick_interval{50};
}

Deadlines::Deadlines(asio::io_context& context) : context_(context), timer_(context) {}

void Deadlines::add(Stream* stream) {
  stream->registry_ = registry_;
  stream->index_ = registry_->streams.size();
  registry_->streams.push_back(stream);
  if (!ticking_) tick();
}

void Deadlines::Registry::remove(const Stream* stream) {
  auto* last = streams.back();
  streams[stream->index_] = last;
  last->index_ = stream->index_;
  streams.pop_back();
}

void Deadlines::tick() {
  const auto now = SteadyClock::now();
  for (auto* stream : registry_->streams)
    if (stream->deadline_ <= now && stream->pending_ > 0) {
      stream->timed_out_ = true;
      ErrorCode ignored;
      stream->socket_.cancel(ignored);
    }
  ticking_ = !registry_->streams.empty();
  if (!ticking_) return;
  timer_.expires_at(now + tick_interval);
  timer_.async_wait([this](ErrorCode error) {
    if (!error) tick();
  });
}

// Counts an operation under way, so that a deadline cancels only what is there to cancel.
class Stream::Pending {
 public:
  explicit Pending(Stream& stream) : stream_(stream) {
    ++stream_.pending_;
    stream_.timed_out_ = false;
  }
  ~Pending() { --stream_.pending_; }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

 private:
  Stream& stream_;
};

Stream::Stream(Socket socket, Deadlines& deadlines) : socket_(std::move(socket)) {
  ErrorCode ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  deadlines.add(this);
}

Stream::~Stream() {
  registry_->remove(this);
  close();
}

ErrorCode Stream::result(ErrorCode error) const {
  if (error == asio::error::operation_aborted && timed_out_) return asio::error::timed_out;
  return error;
}

Awaitable<ErrorCode> Stream::connect(const asio::ip::tcp::endpoint& endpoint) {
  if (deadline_ <= SteadyClock::now()) co_return asio::error::timed_out;
  const Pending pending(*this);
  const auto [error] = co_await socket_.async_connect(endpoint, use_result);
  co_return result(error);
}

Awaitable<Transfer> Stream::read_some(asio::mutable_buffer buffer) {
  if (deadline_ <= SteadyClock::now()) co_return Transfer{asio::error::timed_out};
  const Pending pending(*this);
  if (tls_) {
    const auto [error, n] = co_await tls_->async_read_some(buffer, use_result);
    co_return Transfer{result(error), n};
  }
  const auto [error, n] = co_await socket_.async_read_some(buffer, use_result);
  co_return Transfer{result(error), n};
}

Awaitable<Transfer> Stream::write(asio::const_buffer buffer) {
  if (deadline_ <= SteadyClock::now()) co_return Transfer{asio::error::timed_out};
  const Pending pending(*this);
  if (tls_) {
    const auto [error, n] = co_await asio::async_write(*tls_, buffer, use_result);
    co_return Transfer{result(error), n};
  }
  const auto [error, n] = co_await asio::async_write(socket_, buffer, use_result);
  co_return Transfer{result(error), n};
}

Awaitable<Transfer> Stream::write(const std::vector<asio::const_buffer>& buffers) {
  if (deadline_ <= SteadyClock::now()) co_return Transfer{asio::error::timed_out};
  const Pending pending(*this);
  if (tls_) {
    const auto [error, n] = co_await asio::async_write(*tls_, buffers, use_result);
    co_return Transfer{result(error), n};
  }
  const auto [error, n] = co_await asio::async_write(socket_, buffers, use_result);
  co_return Transfer{result(error), n};
}

namespace {

bool is_ip_address(const std::string& host) {
  ErrorCode error;
  asio::ip::make_address(host, error);
  return !error;
}

}  // namespace

Awaitable<ErrorCode> Stream::handshake_as_client(asio::ssl::context& context,
                                                 const std::string& host) {
  tls_ = std::make_unique<Tls>(socket_, context);
  auto* ssl = tls_->native_handle();
  auto* parameters = SSL_get0_param(ssl);
  if (is_ip_address(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl, host.c_str());  // RFC 6066 section 3: never for addresses
    X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
  }
  static constexpr unsigned char http11[] = "\x08http/1.1";
  SSL_set_alpn_protos(ssl, http11, sizeof http11 - 1);
  const Pending pending(*this);
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, use_result);
  if (error)
    if (const auto verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
      certificate_error_ = X509_verify_cert_error_string(verified);
  co_return result(error);
}

Awaitable<ErrorCode> Stream::handshake_as_server(asio::ssl::context& context) {
  tls_ = std::make_unique<Tls>(socket_, context);
  const Pending pending(*this);
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, use_result);
  co_return result(error);
}

bool Stream::idle_and_open() {
  char byte = 0;
  const auto peeked = [&] {
    return ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  };
  if (peeked() < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  // Something is there. On TLS that may be a session ticket (RFC 8446 section 4.6.1), but proving
  // so would take reading it: such a connection is simply not reused.
  return false;
}

Awaitable<> Stream::shutdown_send() {
  if (tls_) {
    const Pending pending(*this);
    co_await tls_->async_shutdown(use_result);
  }
  ErrorCode ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

void Stream::close() {
  ErrorCode ignored;
  socket_.close(ignored);
}

}  // namespace ledger
