#include "admin/admin.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "admin/router.h"
#include "config/admin_token.h"
#include "proxy/listen.h"

namespace ledger {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;

constexpr unsigned header_max = 32 * 1024;
constexpr std::chrono::seconds idle_max{60};
constexpr std::chrono::seconds unread_max{10};  // an answer of which nothing is taken
// Two, so that a slow question (statistics of a large store) does not keep a health check waiting.
constexpr int threads = 2;
// Fewer than the descriptors that are kept for them.
constexpr std::size_t connections_max = 32;

using Authority = std::shared_ptr<const CertificateAuthority>;
using Request = AdminRouter::Request;
using Response = AdminRouter::Response;
using Parser = http::request_parser<http::string_body>;

asio::awaitable<void> write(beast::tcp_stream& stream, Response& response, bool to_head) {
  if (to_head) {
    response.content_length(response.body().size());
    response.body().clear();
  } else if (response.result() != http::status::no_content) {
    response.prepare_payload();
  }
  http::response_serializer<http::string_body> serializer(response);
  while (!serializer.is_done()) {
    stream.expires_after(unread_max);
    co_await http::async_write_some(stream, serializer, asio::use_awaitable);
  }
}

// What to say to bytes that are no request; nullopt where nobody is there to hear it.
std::optional<Response> malformed(const beast::error_code& error) {
  if (error == http::error::header_limit)
    return admin_problem(431, "header-too-large", "The request's header is too large.");
  if (error == http::error::body_limit)
    return admin_problem(413, "body-too-large", "The request's body is longer than this takes.");
  static const auto& ours = make_error_code(http::error::bad_method).category();
  if (error.category() != ours || error == http::error::end_of_stream ||
      error == http::error::partial_message)
    return std::nullopt;
  return admin_problem(400, "bad-request", "This is not HTTP/1.1: " + error.message() + ".");
}

// Reads one request, or says what to answer instead of reading on.
asio::awaitable<std::optional<Response>> read(beast::tcp_stream& stream, beast::flat_buffer& buffer,
                                              Parser& parser, const AdminRouter& router) {
  beast::error_code error;
  auto token = asio::redirect_error(asio::use_awaitable, error);
  parser.header_limit(header_max);
  parser.body_limit(boost::none);  // known when the head is
  stream.expires_after(idle_max);
  co_await http::async_read_header(stream, buffer, parser, token);
  if (error == http::error::end_of_stream) throw beast::system_error(error);
  if (error) {
    auto answer = malformed(error);
    if (!answer) throw beast::system_error(error);
    co_return answer;
  }
  const auto& head = parser.get();
  if (auto refused = router.refuse(head)) co_return refused;
  const auto limit = AdminRouter::body_max({head.target().data(), head.target().size()});
  if (parser.content_length().value_or(0) > limit) co_return malformed(http::error::body_limit);
  parser.body_limit(limit);
  if (!parser.is_done() && beast::iequals(head[http::field::expect], "100-continue")) {
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(stream, asio::buffer(go_on), asio::use_awaitable);
  }
  co_await http::async_read(stream, buffer, parser, token);
  if (!error) co_return std::nullopt;
  auto answer = malformed(error);
  if (!answer) throw beast::system_error(error);
  co_return answer;
}

// A client may still be sending a body that is not read: closing now would reset the connection
// and lose the answer on its way (RFC 9112 section 9.6).
asio::awaitable<void> linger(beast::tcp_stream& stream) {
  constexpr std::size_t linger_max = 4 << 20;
  stream.socket().shutdown(tcp::socket::shutdown_send);
  stream.expires_after(std::chrono::seconds(2));
  std::string sink(16 * 1024, '\0');
  for (std::size_t n = 0; n < linger_max;)
    n += co_await stream.async_read_some(asio::buffer(sink), asio::use_awaitable);
}

struct Connection {
  explicit Connection(tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  std::atomic<bool> idle{true};  // waits for its next request
};

// Ends by an exception where the network does.
asio::awaitable<void> serve(Connection& connection, const AdminRouter& router) {
  auto& stream = connection.stream;
  beast::flat_buffer buffer;
  for (;;) {
    Parser parser;
    connection.idle = true;
    auto refused = co_await read(stream, buffer, parser, router);
    connection.idle = false;
    const auto& request = parser.get();
    auto response = refused ? std::move(*refused) : router.answer(request);
    response.version(request.version() == 10 ? 10 : 11);
    response.keep_alive(request.keep_alive() && parser.is_done());
    co_await write(stream, response, request.method() == http::verb::head);
    if (!response.keep_alive()) break;
  }
  co_await linger(stream);
}

}  // namespace

struct AdminServer::Impl {
  Impl(const Config& config, Store& store, const Metrics& metrics, Log log, Authority authority)
      : acceptor(context),
        endpoint(config.admin),
        router(config, store, metrics, endpoint, std::move(log), std::move(authority)) {}
  ~Impl() {
    context.stop();
    for (auto& thread : pool) thread.join();
    connections.clear();  // no stream may outlive the context; what still runs goes with it
  }

  // Ends a connection for a new one where there are too many: an idle one, the oldest first.
  void make_room() {
    const std::lock_guard lock(mutex);
    if (connections.size() < connections_max) return;
    auto at = std::find_if(connections.begin(), connections.end(),
                           [](const auto& c) { return c->idle.load(); });
    if (at == connections.end()) at = connections.begin();
    asio::post((*at)->stream.get_executor(), [c = *at] { c->stream.close(); });
    connections.erase(at);
  }

  void start(tcp::socket socket) {
    make_room();
    const auto strand = socket.get_executor();
    auto connection = std::make_shared<Connection>(std::move(socket));
    {
      const std::lock_guard lock(mutex);
      connections.push_back(connection);
    }
    // A connection that fails ends alone.
    asio::co_spawn(strand, serve(*connection, router), [this, connection](std::exception_ptr) {
      const std::lock_guard lock(mutex);
      connections.remove(connection);
    });
  }

  asio::awaitable<void> accept() {
    for (;;) {
      // A strand each: the timer of a stream and its reads may not run at once.
      tcp::socket socket(asio::make_strand(context));
      beast::error_code error;
      co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) co_return;
      if (error) {  // out of descriptors: later there may be some
        asio::steady_timer pause(context, std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::use_awaitable);
        continue;
      }
      start(std::move(socket));
    }
  }

  std::mutex mutex;
  std::list<std::shared_ptr<Connection>> connections;  // oldest first; guarded by mutex
  asio::io_context context;
  tcp::acceptor acceptor;
  Endpoint endpoint;  // as bound
  AdminRouter router;
  std::vector<std::thread> pool;
};

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminServer::~AdminServer() = default;

tl::expected<std::unique_ptr<AdminServer>, std::string> AdminServer::start(
    const Config& config, Store& store, const Metrics& metrics, Log log, Authority authority) {
  auto impl = std::make_unique<Impl>(config, store, metrics, std::move(log), std::move(authority));
  auto& i = *impl;
  auto acceptor = listen_on(i.context, config.admin);
  if (!acceptor) return tl::unexpected(acceptor.error());
  i.acceptor = std::move(*acceptor);
  i.endpoint.port = i.acceptor.local_endpoint().port();
  // Made now, so that it is there to be read; but with a CA of one's own the state directory may be
  // none, and is made when somebody needs the token. Where it cannot be, who needs it is told why.
  if (config.tls_ca.empty()) static_cast<void>(admin_token(config));
  asio::co_spawn(i.context, i.accept(), asio::detached);
  for (int n = 0; n < threads; ++n) i.pool.emplace_back([&i] { i.context.run(); });
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(impl)));
}

std::string AdminServer::address() const { return impl_->endpoint.to_string(); }

}  // namespace ledger
