#include "proxy/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <tuple>

#include "proxy/descriptors.h"

namespace ledger {
namespace {

constexpr std::chrono::milliseconds tick_interval{50};

std::int64_t tick_of(SteadyClock::time_point t) { return t.time_since_epoch() / tick_interval; }
SteadyClock::time_point time_of(std::int64_t tick) {
  return SteadyClock::time_point(tick * tick_interval);
}

}  // namespace

Deadlines::Deadlines(asio::io_context& context) : context_(context), timer_(context) {
  registry_->owner = this;
}

Deadlines::~Deadlines() { registry_->owner = nullptr; }

// Into the slot that comes up right after its deadline, or into the last one where that is further.
void Deadlines::Registry::file(Stream& stream) {
  if (stream.slot_ >= 0) remove(stream);
  if (owner != nullptr) owner->start();
  const auto due = tick_of(stream.deadline_) + 1;
  const auto at = std::clamp(due, ticked + 1, ticked + slot_count - 1);
  stream.slot_ = static_cast<int>(at % slot_count);
  auto& slot = slots[static_cast<std::size_t>(stream.slot_)];
  stream.index_ = slot.size();
  stream.visited_at_ = time_of(at);
  slot.push_back(&stream);
  ++filed;
}

void Deadlines::Registry::remove(Stream& stream) {
  auto& slot = slots[static_cast<std::size_t>(stream.slot_)];
  auto* const last = slot.back();
  slot[stream.index_] = last;
  last->index_ = stream.index_;
  slot.pop_back();
  stream.slot_ = -1;
  stream.visited_at_ = SteadyClock::time_point::max();
  --filed;
}

void Deadlines::Registry::visit(std::int64_t tick, SteadyClock::time_point now) {
  ticked = tick;  // first, so that what is filed again lands in another slot
  auto& slot = slots[static_cast<std::size_t>(tick % slot_count)];
  while (!slot.empty()) {
    auto& stream = *slot.back();
    remove(stream);
    if (stream.deadline_ == SteadyClock::time_point::max()) continue;
    const bool passed = stream.deadline_ <= now;
    if (passed && stream.pending_ == 0) continue;  // the next operation sees it by itself
    if (passed) {
      stream.timed_out_ = true;
      ErrorCode ignored;
      stream.socket_.cancel(ignored);
    }
    // Also after a cancellation: one step of a composed write may have been done already, and the
    // next one would then go on.
    file(stream);
  }
}

void Deadlines::start() {
  if (ticking_) return;
  ticking_ = true;
  registry_->ticked = tick_of(SteadyClock::now());
  arm();
}

void Deadlines::arm() {
  timer_.expires_at(time_of(registry_->ticked + 1));
  timer_.async_wait([this, registry = registry_](ErrorCode error) {
    if (!error && registry->owner == this) tick();
  });
}

void Deadlines::tick() {
  const auto now = SteadyClock::now();
  const auto current = tick_of(now);
  // After a long stop (a suspended machine) each slot is visited once.
  const auto from = std::max(registry_->ticked + 1, current - Registry::slot_count + 1);
  for (auto t = from; t <= current; ++t) registry_->visit(t, now);
  ticking_ = registry_->filed > 0;
  if (ticking_) arm();
}

// Counts an operation under way, so that a deadline cancels only what is there to cancel.
class Stream::Pending {
 public:
  explicit Pending(Stream& stream) : stream_(stream) {
    if (stream_.pending_++ == 0) stream_.timed_out_ = false;
  }
  ~Pending() { --stream_.pending_; }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

 private:
  Stream& stream_;
};

Stream::Stream(Socket socket, Deadlines& deadlines)
    : socket_(std::move(socket)), registry_(deadlines.registry_) {
  // On a socket that is not open yet this fails, and connect() does it.
  ErrorCode ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

Stream::~Stream() {
  if (slot_ >= 0) registry_->remove(*this);
  close();
}

ErrorCode Stream::result(ErrorCode error) const {
  if (error == asio::error::operation_aborted && timed_out_ && socket_.is_open())
    return asio::error::timed_out;
  return error;
}

Awaitable<ErrorCode> Stream::connect(const asio::ip::tcp::endpoint& endpoint) {
  if (expired()) co_return asio::error::timed_out;
  ErrorCode failed;
  if (!socket_.is_open()) socket_.open(endpoint.protocol(), failed);
  if (failed) co_return failed;
  if (is_kept(socket_.native_handle())) {
    close();
    co_return asio::error::no_descriptors;
  }
  socket_.set_option(asio::ip::tcp::no_delay(true), failed);
  const Pending pending(*this);
  const auto [error] = co_await socket_.async_connect(endpoint, use_result);
  co_return result(error);
}

namespace {

// A call that does not wait: nothing to read, or no room to send, is 0 bytes and no error.
Transfer done_now(auto call) {
  for (;;) {
    const auto n = call();
    if (n >= 0) return {{}, static_cast<std::size_t>(n)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
    if (errno != EINTR) return {ErrorCode(errno, boost::system::system_category())};
  }
}

}  // namespace

Transfer Stream::receive_now(asio::mutable_buffer buffer) {
  bool ended = false;
  auto got = done_now([&] {
    const auto n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    ended = n == 0;
    return n;
  });
  if (ended) got.error = asio::error::eof;
  return got;
}

Awaitable<Transfer> Stream::read_some(Buffer& to) {
  if (expired()) co_return Transfer{asio::error::timed_out};
  if (ended_) co_return Transfer{ended_};
  const Pending pending(*this);
  to.park();
  // What is ready goes first: by the next turn of the loop bytes have come that a read at once
  // would only have looked for, and what comes in parts has gathered.
  co_await asio::post(get_executor(), asio::deferred);
  if (!socket_.is_open()) co_return Transfer{asio::error::operation_aborted};
  Transfer got;
  if (tls_) {
    std::tie(got.error, got.bytes) = co_await tls_->async_read_some(to.waiting_room(), use_result);
  } else {
    while (got = receive_now(to.room()), got.bytes == 0 && !got.error) {
      to.park();
      std::tie(got.error) = co_await socket_.async_wait(Socket::wait_read, use_result);
      if (got.error) break;
    }
  }
  to.filled(got.bytes);
  // An end that was read once is not there a second time.
  if (got.error && got.error != asio::error::operation_aborted) ended_ = got.error;
  got.error = result(got.error);
  co_return got;
}

Transfer Stream::send_now(const Buffers& buffers) {
  constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (buffers[1].size() == 0)
    return done_now([&] {
      return ::send(socket_.native_handle(), buffers[0].data(), buffers[0].size(), flags);
    });
  std::array<iovec, 2> parts;
  for (std::size_t i = 0; i < parts.size(); ++i)
    parts[i] = {const_cast<void*>(buffers[i].data()), buffers[i].size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return done_now([&] { return ::sendmsg(socket_.native_handle(), &message, flags); });
}

bool Stream::write_now(Buffers& buffers) {
  if (tls_) return false;
  auto sent = send_now(buffers).bytes;
  for (auto& buffer : buffers) {
    const auto taken = std::min(sent, buffer.size());
    buffer += taken;
    sent -= taken;
  }
  return asio::buffer_size(buffers) == 0;
}

Awaitable<Transfer> Stream::write(Buffers buffers) {
  if (expired()) co_return Transfer{asio::error::timed_out};
  const Pending pending(*this);
  const auto all = asio::buffer_size(buffers);
  if (write_now(buffers)) co_return Transfer{{}, all};
  Transfer rest;
  if (tls_)
    std::tie(rest.error, rest.bytes) = co_await asio::async_write(*tls_, buffers, use_result);
  else
    std::tie(rest.error, rest.bytes) = co_await asio::async_write(socket_, buffers, use_result);
  co_return Transfer{result(rest.error), all - asio::buffer_size(buffers) + rest.bytes};
}

// The name that the certificate must carry, and that the server is told (RFC 6066 section 3: never
// an address, and without a final dot). Without a name to check nothing is trusted.
ErrorCode Stream::expect_name(const std::string& host) {
  auto* const ssl = tls_->native_handle();
  auto* const parameters = SSL_get0_param(ssl);
  ErrorCode not_an_address;
  asio::ip::make_address(host, not_an_address);
  if (!not_an_address) {
    if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1) return {};
    return asio::error::invalid_argument;
  }
  auto name = host;
  if (name.ends_with('.')) name.pop_back();
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (name.empty() || X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size()) != 1 ||
      SSL_set_tlsext_host_name(ssl, name.c_str()) != 1)
    return asio::error::invalid_argument;
  return {};
}

Awaitable<ErrorCode> Stream::handshake_as_client(asio::ssl::context& context,
                                                 const std::string& host) {
  if (expired()) co_return asio::error::timed_out;
  tls_ = std::make_unique<Tls>(socket_, context);
  if (const auto error = expect_name(host)) co_return error;
  auto* const ssl = tls_->native_handle();
  SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
  static constexpr unsigned char http11[] = "\x08http/1.1";
  SSL_set_alpn_protos(ssl, http11, sizeof http11 - 1);
  const Pending pending(*this);
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, use_result);
  if (error)
    if (const auto verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
      certificate_error_ = X509_verify_cert_error_string(verified);
  co_return result(error);
}

Awaitable<ErrorCode> Stream::handshake_as_server(asio::ssl::context& context, std::string first,
                                                 const Prepare& prepare) {
  if (expired()) co_return asio::error::timed_out;
  tls_ = std::make_unique<Tls>(socket_, context);
  if (prepare) prepare(tls_->native_handle());
  const Pending pending(*this);
  const auto [error, used] = co_await tls_->async_handshake(asio::ssl::stream_base::server,
                                                            asio::buffer(first), use_result);
  co_return result(error);
}

bool Stream::idle_and_open() {
  if (ended_) return false;
  char byte = 0;
  if (!tls_) {
    const auto n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  // TLS 1.3 servers send session tickets when they like (RFC 8446 section 4.6.1): readable is not
  // the same as spoken to. Reading through the engine takes them in; only "nothing yet" at the
  // border of a record counts as idle.
  ErrorCode error;
  socket_.non_blocking(true, error);  // of the synchronous operations; the others are not touched
  if (error) return false;
  tls_->read_some(asio::buffer(&byte, 1), error);
  return error == asio::error::would_block && SSL_has_pending(tls_->native_handle()) == 0;
}

// Sends close_notify without waiting for the peer's, which may come after much more data: told that
// it came already, SSL_shutdown is content with sending. It is called within the initiation, so no
// read can see the pretence.
Awaitable<ErrorCode> Stream::close_notify() {
  const auto initiate = [this](auto handler) {
    auto* const ssl = tls_->native_handle();
    const auto before = SSL_get_shutdown(ssl);
    SSL_set_shutdown(ssl, before | SSL_RECEIVED_SHUTDOWN);
    tls_->async_shutdown(std::move(handler));
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) & ~(~before & SSL_RECEIVED_SHUTDOWN));
  };
  const auto [error] =
      co_await asio::async_initiate<decltype(use_result), void(ErrorCode)>(initiate, use_result);
  co_return error;
}

Awaitable<> Stream::shutdown_send() {
  if (tls_ && !expired()) {
    const Pending pending(*this);
    co_await close_notify();
  }
  ErrorCode ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

void Stream::close() {
  ErrorCode ignored;
  socket_.close(ignored);
}

std::string tls_reason(const ErrorCode& error) {
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated ||
      error == asio::error::connection_reset)
    return "the connection was closed";
  if (error.category() != asio::error::get_ssl_category()) return error.message();
  const auto code = static_cast<unsigned long>(error.value());
  const char* const reason = ERR_reason_error_string(code);
  std::string why = reason != nullptr ? reason : error.message();
  if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) why += " (is it plain HTTP?)";
  return why;
}

}  // namespace ledger
