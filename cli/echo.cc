#include "cli/echo.h"

#include <openssl/ssl.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

namespace ledger::cli {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using net::ip::tcp;

}  // namespace

Echo::Echo(const CertificateAuthority* authority, const std::string& host)
    : acceptor_(context_, tcp::endpoint(net::ip::address_v4::loopback(), 0)),
      port_(acceptor_.local_endpoint().port()),
      secure_(authority != nullptr) {
  if (authority != nullptr) {
    const auto leaf = authority->sign(host, std::chrono::system_clock::now());
    auto* const ctx = tls_.native_handle();
    SSL_CTX_use_cert_and_key(ctx, leaf.certificate.get(), authority->leaf_key(), nullptr, 1);
  }
  net::co_spawn(context_, accept(), [](const std::exception_ptr&) {});
  thread_ = std::thread([this] { context_.run(); });
}

Echo::~Echo() {
  context_.stop();
  thread_.join();
}

net::awaitable<void> Echo::accept() {
  for (;;) {
    auto socket = co_await acceptor_.async_accept(net::use_awaitable);
    visited_ = true;
    // What goes wrong on one connection ends that one.
    net::co_spawn(context_, serve(std::move(socket)), [](const std::exception_ptr&) {});
  }
}

net::awaitable<void> Echo::serve(tcp::socket socket) {
  if (!secure_) {
    co_await answer(socket);
    co_return;
  }
  net::ssl::stream<tcp::socket&> stream(socket, tls_);
  co_await stream.async_handshake(net::ssl::stream_base::server, net::use_awaitable);
  co_await answer(stream);
}

template <class Stream>
net::awaitable<void> Echo::answer(Stream& stream) {
  boost::beast::flat_buffer buffer;
  for (;;) {
    http::request<http::string_body> request;
    co_await http::async_read(stream, buffer, request, net::use_awaitable);
    if (request[http::field::via].find(" ledger-") != std::string_view::npos) asked_ = true;
    http::response<http::string_body> ok(http::status::ok, request.version());
    ok.keep_alive(request.keep_alive());
    ok.set(http::field::content_type, "text/plain");
    if (request.method() != http::verb::head) ok.body() = "Here is Ledger's echo.\n";
    ok.prepare_payload();
    co_await http::async_write(stream, ok, net::use_awaitable);
    if (!request.keep_alive()) co_return;
  }
}

}  // namespace ledger::cli
