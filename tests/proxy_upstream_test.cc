// Connections to upstreams: looked up, opened, kept, and refused with a reason.
#include <sys/resource.h>

#include <atomic>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <semaphore>

#include "proxy/upstream.h"
#include "tests/proxy_net_support.h"
#include "tests/proxy_tls_support.h"

namespace ledger::test {
namespace {

using std::chrono::milliseconds;
using Freshness = UpstreamPool::Freshness;

// A destination that accepts when it is told to, and a pool that connects to it.
struct Destination {
  explicit Destination(std::shared_ptr<asio::ssl::context> tls = nullptr)
      : acceptor(listen_on_loopback(loop.context)),
        pool(loop.deadlines, {std::move(tls), nullptr}, config, reach) {}

  std::string at(const std::string& scheme = "http", const std::string& host = "127.0.0.1") const {
    return scheme + "://" + host + ":" + std::to_string(acceptor.local_endpoint().port()) + "/";
  }
  tl::expected<UpstreamConnectionPtr, ConnectError> get(const std::string& url, Freshness freshness,
                                                        SteadyClock::duration within) {
    const auto parsed = parse_url(url);
    REQUIRE(parsed.has_value());
    const UpstreamAddress to{*parsed};
    return loop.run(pool.acquire(to, freshness, SteadyClock::now() + within));
  }
  std::string why(const std::string& url, SteadyClock::duration within = std::chrono::seconds(20)) {
    auto got = get(url, Freshness::guarded, within);
    REQUIRE_FALSE(got.has_value());
    return got.error().why;
  }
  UpstreamConnectionPtr connect(Freshness freshness = Freshness::guarded) {
    auto got = get(at(), freshness, std::chrono::seconds(20));
    if (!got) FAIL(got.error().why);
    return std::move(*got);
  }
  Socket accept() { return acceptor.accept(); }
  // One exchange, answered with `answer`, and the connection given back.
  void exchange(UpstreamConnectionPtr connection, Socket& peer,
                const std::string& answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
    asio::write(peer, asio::buffer(answer));
    std::string body;
    REQUIRE_EQ(loop.run(connection->reader.read_head()), ReadError::none);
    while (!connection->reader.body_done())
      REQUIRE_EQ(loop.run(connection->reader.read_body(body)), ReadError::none);
    pool.release(std::move(connection));
  }

  Loop loop;
  Config config;
  Reach reach{config, {}};
  Acceptor acceptor;
  UpstreamPool pool;
};

TEST_CASE("a connection is used again, the last one first") {
  Destination to;
  auto first = to.connect();
  auto first_peer = to.accept();
  auto second = to.connect();
  auto second_peer = to.accept();
  CHECK_FALSE(first->reused);
  auto* const first_was = first.get();
  auto* const second_was = second.get();
  to.exchange(std::move(first), first_peer);
  to.exchange(std::move(second), second_peer);
  CHECK_EQ(to.pool.idle(), 2);
  auto again = to.connect();
  CHECK(again.get() == second_was);
  CHECK(again->reused);
  CHECK(to.connect().get() == first_was);
  CHECK_EQ(to.pool.idle(), 0);
  to.exchange(std::move(again), second_peer);
  CHECK_FALSE(to.connect(Freshness::unused)->reused);  // a tunnel's
  CHECK_EQ(to.pool.idle(), 1);
}

TEST_CASE("a connection that ended, was reset or spoke while idle is never used again") {
  for (const auto freshness : {Freshness::guarded, Freshness::any}) {
    Destination to;
    std::vector<Socket> peers;
    std::vector<UpstreamConnectionPtr> connections;
    for (int i = 0; i < 3; ++i) {
      connections.push_back(to.connect());
      peers.push_back(to.accept());
    }
    for (std::size_t i = 0; i < 3; ++i) to.exchange(std::move(connections[i]), peers[i]);
    peers[0].close();
    peers[1].set_option(asio::socket_base::linger(true, 0));
    peers[1].close();
    asio::write(peers[2], asio::buffer("HTTP/1.1 408 Request Timeout\r\n\r\n", 32));
    CHECK_EQ(to.pool.idle(), 3);
    CHECK_FALSE(to.connect(freshness)->reused);
    CHECK_EQ(to.pool.idle(), 0);
  }
}

TEST_CASE("a guarded call does not ride on a connection idle for a second; another one may") {
  Destination to;
  auto connection = to.connect();
  auto peer = to.accept();
  to.exchange(std::move(connection), peer);
  Timer timer(to.loop.context, std::chrono::milliseconds(1010));
  to.loop.run([](Timer& t) -> Awaitable<> { co_await t.async_wait(use_result); }(timer));
  CHECK_FALSE(to.connect(Freshness::guarded)->reused);
  CHECK(to.connect(Freshness::any)->reused);
}

TEST_CASE("what must not be used again is not kept") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  Destination to;
  const auto kept = [&](const std::string& answer) {
    auto connection = to.connect();
    auto peer = to.accept();
    to.exchange(std::move(connection), peer, answer);
    const bool any = to.pool.idle() > 0;
    if (any) to.connect();
    return any;
  };
  CHECK(kept(ok + "Content-Length: 0\r\n\r\n"));
  CHECK_FALSE(kept(ok + "Content-Length: 0\r\nConnection: close\r\n\r\n"));
  CHECK_FALSE(kept("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
  CHECK_FALSE(kept(ok + "Content-Length: 0\r\n\r\nmore than asked for"));

  auto unread = to.connect();
  auto peer = to.accept();
  asio::write(peer, asio::buffer(ok + "Content-Length: 5\r\n\r\nabc"));
  REQUIRE_EQ(to.loop.run(unread->reader.read_head()), ReadError::none);
  to.pool.release(std::move(unread));
  CHECK_EQ(to.pool.idle(), 0);
}

TEST_CASE("a connection that is authenticated as one caller carries no other's calls") {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
  for (const auto* field :
       {"WWW-Authenticate: NTLM", "www-authenticate: Basic realm=\"x\", negotiate TlRMTVNT",
        "Persistent-Auth: true", "Authentication-Info: nextnonce=\"x\"",
        "WWW-Authenticate: Kerberos"}) {
    CAPTURE(field);
    Destination to;
    auto connection = to.connect();
    auto peer = to.accept();
    to.exchange(std::move(connection), peer, ok + field + "\r\n\r\n");
    CHECK_EQ(to.pool.idle(), 0);
  }
  for (const auto* field : {"WWW-Authenticate: Bearer", "Persistent-Auth: false", "X-By: NTLM"}) {
    CAPTURE(field);
    Destination to;
    auto connection = to.connect();
    auto peer = to.accept();
    to.exchange(std::move(connection), peer, ok + field + "\r\n\r\n");
    CHECK_EQ(to.pool.idle(), 1);
  }
  Destination to;
  auto connection = to.connect();
  auto peer = to.accept();
  connection->bound_to_caller = true;
  to.exchange(std::move(connection), peer);
  CHECK_EQ(to.pool.idle(), 0);
}

TEST_CASE("a destination that refuses is named") {
  Destination to;
  const auto port = std::to_string(to.acceptor.local_endpoint().port());
  to.acceptor.close();
  CHECK_EQ(to.why("http://127.0.0.1:" + port + "/"), "connection refused by 127.0.0.1:" + port);
  CHECK(to.why("http://localhost:" + port + "/")
            .starts_with("connection refused by 127.0.0.1:" + port + "; "));
  CHECK(to.why("https://[::1]:" + port + "/").find("[::1]:" + port) != std::string::npos);
}

TEST_CASE("every address is tried") {
  // localhost is 127.0.0.1, then ::1.
  Destination to;
  ErrorCode error;
  Acceptor six(to.loop.context);
  six.open(tcp::v6(), error);
  if (!error) six.bind({asio::ip::address_v6::loopback(), 0}, error);
  if (!error) six.listen(asio::socket_base::max_listen_connections, error);
  if (error) return;  // a machine without IPv6
  const auto url = "http://localhost:" + std::to_string(six.local_endpoint().port()) + "/";
  const auto got = to.get(url, Freshness::any, std::chrono::seconds(20));
  REQUIRE(got.has_value());
  CHECK((*got)->stream.socket().remote_endpoint().address().is_v6());
}

TEST_CASE("a host that does not exist is named") {
  Destination to;
  const auto why = to.why("http://api.exmaple.invalid/");
  CHECK((why == "no such host api.exmaple.invalid" ||
         why.starts_with("cannot look up api.exmaple.invalid: ")));  // without any name server
}

TEST_CASE("a destination that is silent in the handshake is given up in time") {
  const auto authority = make_identity({"Test authority", "", true});
  Destination to(client_context(authority));
  to.config.connect_timeout = milliseconds(150);
  CHECK(to.why(to.at("https")).starts_with("timed out after "));
  to.config.connect_timeout = std::chrono::hours(1);
  const auto why = to.why(to.at("https"), milliseconds(150));
  CHECK(why.starts_with("timed out after "));
  CHECK(why.ends_with(" in the TLS handshake with " + to.at().substr(7, to.at().size() - 8)));
  CHECK(to.why(to.at(), milliseconds(-1)).starts_with("timed out after 0 ms connecting to "));
}

TEST_CASE("no socket left is an error, not an exception") {
  Destination to;
  to.connect();  // whatever is made once is there
  to.accept();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto got = to.get(to.at(), Freshness::guarded, std::chrono::seconds(20));
  ::setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().why.ends_with("Too many open files"));
}

struct TlsDestination : Destination {
  explicit TlsDestination(const Identity& authority, const Identity& identity)
      : Destination(client_context(authority)), server_tls(server_context(identity)) {}
  // Accepts and shakes hands while the pool connects.
  void serve() {
    loop.spawn([this]() -> Awaitable<> {
      auto [error, socket] = co_await acceptor.async_accept(use_result);
      if (error) co_return;
      peer = std::make_unique<Stream>(std::move(socket), loop.deadlines);
      failed = co_await peer->handshake_as_server(*server_tls);
      served = true;
    });
  }
  std::shared_ptr<asio::ssl::context> server_tls;
  std::unique_ptr<Stream> peer;
  ErrorCode failed;
  bool served = false;
};

TEST_CASE("a TLS destination is used again in spite of its late tickets") {
  const auto authority = make_identity({"Test authority", "", true});
  const auto good = make_identity({"x", "DNS:localhost"}, &authority);
  TlsDestination to(authority, good);
  to.serve();
  auto got = to.get(to.at("https", "localhost"), Freshness::guarded, std::chrono::seconds(20));
  if (!got) FAIL(got.error().why);
  to.loop.turn_until([&] { return to.served; });
  to.loop.run(to.peer->write(asio::buffer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38)));
  REQUIRE_EQ(to.loop.run((*got)->reader.read_head()), ReadError::none);
  to.pool.release(std::move(*got));
  auto again = to.get(to.at("https", "localhost"), Freshness::guarded, std::chrono::seconds(20));
  REQUIRE(again.has_value());
  CHECK((*again)->reused);
}

TEST_CASE("a certificate that is refused, and a port without TLS, are said so") {
  const auto authority = make_identity({"Test authority", "", true});
  const auto expired = make_identity({"x", "DNS:localhost", false, -9, -1}, &authority);
  TlsDestination to(authority, expired);
  to.serve();
  const auto port = std::to_string(to.acceptor.local_endpoint().port());
  CHECK_EQ(to.why(to.at("https", "localhost")), "certificate of localhost (127.0.0.1:" + port +
                                                    ") was refused: certificate has expired");
  to.loop.settle();

  Destination plain(client_context(authority));
  plain.loop.spawn([&]() -> Awaitable<> {
    auto [error, socket] = co_await plain.acceptor.async_accept(use_result);
    char byte = 0;
    co_await socket.async_read_some(asio::buffer(&byte, 1), use_result);
    co_await asio::async_write(socket, asio::buffer("HTTP/1.1 400 Bad Request\r\n\r\n", 28),
                               use_result);
    co_await socket.async_wait(tcp::socket::wait_error, use_result);
  });
  const auto whom = "127.0.0.1:" + std::to_string(plain.acceptor.local_endpoint().port());
  CHECK_EQ(plain.why(plain.at("https")),
           "TLS handshake with " + whom + " failed: wrong version number (is it plain HTTP?)");
  plain.loop.settle();
}

TEST_CASE("tls.roots: a file that cannot serve is named") {
  const auto dir =
      std::filesystem::temp_directory_path() / ("ledger-roots-" + std::to_string(::getpid()));
  std::filesystem::create_directory(dir);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(dir / name) << text;
    return (dir / name).string();
  };
  const auto good = write("good.pem", pem_of(make_identity({"Authority", "", true})));
  const auto empty = write("empty.pem", "");
  const auto wrong = write("wrong.pem", "not a certificate");
  const auto missing = (dir / "missing.pem").string();
  const auto made = [](const std::vector<std::string>& roots) {
    Config config;
    config.tls_roots = roots;
    return make_upstream_tls(config);
  };
  CHECK(made({}).has_value());
  CHECK(made({good}).has_value());
  CHECK_EQ(made({good, missing}).error(),
           "tls.roots: cannot read " + missing + ": No such file or directory");
  CHECK_EQ(made({dir.string()}).error(),
           "tls.roots: cannot read " + dir.string() + ": Is a directory");
  for (const auto& file : {empty, wrong})
    CHECK_EQ(made({file}).error(), "tls.roots: " + file + ": no certificate in it");
  std::filesystem::remove_all(dir);
}

TEST_CASE("a silent name server holds up neither other names nor the caller") {
  Loop loop;
  std::promise<void> release;
  const auto released = release.get_future().share();
  std::atomic<int> asked{0};
  {
    NameLookup names(loop.context, [&asked, released](const std::string& host) -> LookupResult {
      if (host != "silent.test") return Addresses{asio::ip::make_address("192.0.2.7")};
      ++asked;
      released.wait();
      return tl::unexpected("no such host " + host);
    });
    const auto soon = [] { return SteadyClock::now() + milliseconds(50); };
    const auto later = SteadyClock::now() + std::chrono::seconds(20);
    CHECK_EQ(loop.run(names.lookup("silent.test", soon())).error(),
             "timed out looking up silent.test");
    CHECK_EQ(loop.run(names.lookup("other.test", later)).value().at(0).to_string(), "192.0.2.7");
    CHECK_EQ(loop.run(names.lookup("silent.test", soon())).error(),
             "timed out looking up silent.test");
    CHECK_EQ(asked, 1);  // the second caller joined
    release.set_value();
    CHECK_EQ(loop.run(names.lookup("silent.test", later)).error(), "no such host silent.test");
  }
  {
    std::promise<void> never;
    const auto stuck = never.get_future().share();
    NameLookup names(loop.context, [stuck](const std::string&) -> LookupResult {
      stuck.wait();
      return Addresses{};
    });
    CHECK_FALSE(loop.run(names.lookup("x.test", SteadyClock::now())).has_value());
    never.set_value();
  }  // gone while its thread may still run
}

// Each look-up ends when it is let go; at first all threads are held by one.
struct HeldNames {
  HeldNames() {
    for (std::size_t i = 0; i < NameLookup::threads_max; ++i) ask("held" + std::to_string(i));
    loop.turn_until([this] { return asked_so_far().size() == NameLookup::threads_max; });
  }
  ~HeldNames() { let_go(every); }
  void let_go(std::ptrdiff_t n) { permits.release(n); }
  std::vector<std::string> asked_so_far() {
    const std::lock_guard lock(mutex);
    return asked;
  }
  LookupResult resolve(const std::string& host) {
    {
      const std::lock_guard lock(mutex);
      asked.push_back(host);
    }
    permits.acquire();
    return Addresses{asio::ip::make_address("192.0.2.7")};
  }
  // What became of it goes to `ended`.
  void ask(const std::string& host, SteadyClock::duration within = std::chrono::seconds(20)) {
    asio::co_spawn(
        loop.context,
        [](HeldNames& self, std::string name, SteadyClock::time_point until) -> Awaitable<> {
          const auto found = co_await self.names.lookup(name, until);
          self.ended.emplace_back(name, found ? "" : found.error());
        }(*this, host, SteadyClock::now() + within),
        asio::detached);
  }
  std::vector<std::string> asked_after_the_held() {
    auto all = asked_so_far();
    return {all.begin() + static_cast<std::ptrdiff_t>(NameLookup::threads_max), all.end()};
  }

  Loop loop;
  std::mutex mutex;
  std::vector<std::string> asked;
  std::vector<std::pair<std::string, std::string>> ended;
  static constexpr std::ptrdiff_t every = 1000;
  std::counting_semaphore<> permits{0};
  NameLookup names{loop.context, [this](const std::string& host) { return resolve(host); }};
};

TEST_CASE("a name that nobody waits for any more is not looked up") {
  HeldNames held;
  for (int i = 0; i < 40; ++i) held.ask("gone" + std::to_string(i), milliseconds(20));
  held.loop.turn_until([&] { return held.ended.size() == 40; });
  CHECK_EQ(held.ended[7].second, "timed out looking up " + held.ended[7].first);
  held.ask("wanted");
  held.let_go(held.every);
  held.loop.turn_until([&] { return held.ended.size() == 41 + NameLookup::threads_max; });
  CHECK_EQ(held.asked_after_the_held(), std::vector<std::string>{"wanted"});
}

TEST_CASE("a flood of slow names does not hold up a name that is asked for after it") {
  HeldNames held;
  const auto flood = NameLookup::queue_max + 9;
  for (std::size_t i = 0; i < flood; ++i) held.ask("flood" + std::to_string(i));
  held.ask("wanted");
  held.loop.turn_until([&] { return held.ended.size() == 10; });  // the oldest have given way
  CHECK_EQ(held.ended[0].first, "flood0");
  CHECK_EQ(held.ended[0].second, "cannot look up flood0, too many names are being looked up");
  held.let_go(1);
  held.loop.turn_until([&] { return !held.asked_after_the_held().empty(); });
  CHECK_EQ(held.asked_after_the_held(), std::vector<std::string>{"wanted"});
  held.let_go(held.every);
  held.loop.turn_until([&] { return held.ended.size() == flood + 1 + NameLookup::threads_max; });
}

TEST_CASE("the thread of one look-up does the next one") {
  Loop loop;
  std::vector<std::thread::id> threads;
  NameLookup names(loop.context, [&](const std::string&) -> LookupResult {
    threads.push_back(std::this_thread::get_id());
    return Addresses{asio::ip::make_address("192.0.2.7")};
  });
  const auto later = SteadyClock::now() + std::chrono::seconds(20);
  for (int i = 0; i < 3; ++i)
    CHECK(loop.run(names.lookup("host" + std::to_string(i) + ".test", later)).has_value());
  CHECK_EQ(threads, std::vector(3, threads.at(0)));
}

TEST_CASE("addresses and localhost need no name server") {
  Loop loop;
  NameLookup names(loop.context, [](const std::string&) -> LookupResult {
    return tl::unexpected(std::string("was asked"));
  });
  const auto later = SteadyClock::now() + std::chrono::seconds(20);
  for (const auto* host : {"127.0.0.1", "::1", "localhost", "a.localhost"}) {
    CAPTURE(host);
    CHECK(loop.run(names.lookup(host, later)).has_value());
  }
  CHECK_EQ(loop.run(names.lookup("localhost", later)).value().size(), 2);
}

}  // namespace
}  // namespace ledger::test
