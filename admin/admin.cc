#include "admin/admin.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <thread>
#include <vector>

#include "admin/router.h"
#include "proxy/listen.h"

namespace ledger {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;

constexpr std::size_t body_max = 16 * 1024 * 1024;
constexpr unsigned header_max = 32 * 1024;
constexpr std::chrono::seconds idle_max{60};
// Two, so that a slow question (statistics of a large store) does not keep a health check waiting.
constexpr int threads = 2;

asio::awaitable<void> serve(beast::tcp_stream stream, const AdminRouter& router) {
  beast::flat_buffer buffer;
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(body_max);
    parser.header_limit(header_max);
    stream.expires_after(idle_max);
    co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
    const auto request = parser.release();
    auto response = router.answer(request);
    response.version(request.version());
    response.keep_alive(request.keep_alive());
    if (request.method() == http::verb::head) {
      response.content_length(response.body().size());
      response.body().clear();
    } else if (response.result() != http::status::no_content) {
      response.prepare_payload();
    }
    http::response_serializer<http::string_body> serializer(response);
    co_await http::async_write(stream, serializer, asio::use_awaitable);
    if (!response.keep_alive()) break;
  }
  beast::error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace

struct AdminServer::Impl {
  Impl(const Config& config, Store& store, const Metrics& metrics)
      : acceptor(context), endpoint(config.admin), router(config, store, metrics, endpoint) {}
  ~Impl() {
    context.stop();
    for (auto& thread : pool) thread.join();
  }

  asio::awaitable<void> accept() {
    for (;;) {
      beast::error_code error;
      auto socket =
          co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) co_return;
      if (error) {  // out of descriptors: later there may be some
        asio::steady_timer pause(context, std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::use_awaitable);
        continue;
      }
      // A connection that fails ends alone.
      asio::co_spawn(context, serve(beast::tcp_stream(std::move(socket)), router),
                     [](std::exception_ptr) {});
    }
  }

  asio::io_context context;
  tcp::acceptor acceptor;
  Endpoint endpoint;  // as bound
  AdminRouter router;
  std::vector<std::thread> pool;
};

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminServer::~AdminServer() = default;

tl::expected<std::unique_ptr<AdminServer>, std::string> AdminServer::start(const Config& config,
                                                                           Store& store,
                                                                           const Metrics& metrics) {
  auto impl = std::make_unique<Impl>(config, store, metrics);
  auto& i = *impl;
  auto acceptor = listen_on(i.context, config.admin);
  if (!acceptor) return tl::unexpected(acceptor.error());
  i.acceptor = std::move(*acceptor);
  i.endpoint.port = i.acceptor.local_endpoint().port();
  asio::co_spawn(i.context, i.accept(), asio::detached);
  for (int n = 0; n < threads; ++n) i.pool.emplace_back([&i] { i.context.run(); });
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(impl)));
}

std::string AdminServer::address() const { return impl_->endpoint.to_string(); }

}  // namespace ledger
