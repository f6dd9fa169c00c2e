// The admin endpoint itself, over real sockets on a port of the system's choice.
#include <doctest/doctest.h>

#include "store/faulty.h"
#include "tests/admin_support.h"

using namespace ledger;
using namespace ledger::test;

namespace {
std::string path_of(const Record& record) { return "/api/records/" + to_hex(record.id); }
constexpr const char* settle_it = R"({"verdict":"executed","response":{"body":"given"}})";
}  // namespace

TEST_CASE("health, and readiness that follows the store") {
  const auto store = std::move(*open_store("memory:", true, true));
  FaultyStore faulty(*store);
  Endpoints admin("", &faulty);
  CHECK(admin.ask("GET", "/healthz").json() == Json{{"status", "ok"}});
  CHECK(admin.ask("GET", "/readyz").json() == Json{{"status", "ok"}});
  faulty.fail_writes(true);
  const auto unready = admin.ask("GET", "/readyz");
  CHECK(unready.status == 503);
  CHECK_FALSE(unready.json()["detail"].get<std::string>().empty());
  CHECK(admin.status("GET", "/healthz") == 200);
}

TEST_CASE("it is ready only while every listener listens and it is not draining") {
  Endpoints admin;
  for (const auto& [phase, status] :
       {std::pair(Phase::starting, "starting"), std::pair(Phase::draining, "draining")}) {
    admin.metrics.phase = phase;
    const auto told = admin.ask("GET", "/readyz");
    CHECK(told.status == 503);
    CHECK(told.json()["status"] == status);
    CHECK(admin.status("GET", "/healthz") == 200);
  }
}

TEST_CASE("records, newest first, page by page") {
  Endpoints admin;
  for (std::uint64_t i = 1; i <= 5; ++i) put_completed(admin.store(), i);
  put_in_doubt(admin.store(), 6);
  std::vector<std::string> ids;
  std::string target = "/api/records?limit=4";
  for (int pages = 0; pages < 2; ++pages) {
    const auto page = admin.ask("GET", target).json();
    for (const auto& r : page["records"]) ids.push_back(r["id"]);
    if (page["next"].is_null()) break;
    CHECK(page["next"].is_string());
    target = "/api/records?limit=4&cursor=" + page["next"].get<std::string>();
  }
  REQUIRE(ids.size() == 6);
  for (std::uint64_t i = 0; i < 6; ++i) CHECK(ids[i] == to_hex(id_of(6 - i)));

  const auto count = [&](const std::string& query) {
    return admin.ask("GET", "/api/records?" + query).json()["records"].size();
  };
  CHECK(count("state=in_doubt") == 1);
  CHECK(count("route=charge_card&agent=billing-bot") == 6);
  CHECK(count("route=other") == 0);
  for (const auto* bad : {"state=done", "limit=0", "limit=1001", "limit=x", "cursor=-1", "nope=1"})
    CHECK_MESSAGE(admin.status("GET", "/api/records?" + std::string(bad)) == 400, bad);
}

TEST_CASE("one record, whole") {
  Endpoints admin;
  const auto record = put_completed(admin.store(), 1);
  const auto shown = admin.ask("GET", path_of(record));
  CHECK(shown.status == 200);
  CHECK(shown["Content-Type"] == "application/json");
  CHECK(shown["Cache-Control"] == "no-store");
  CHECK(shown.json() == record_json(record, true));
  CHECK(shown.body.find("a=b") == std::string::npos);  // the cookie
  CHECK(admin.status("GET", "/api/records/" + to_hex(id_of(9))) == 404);
  CHECK(admin.status("GET", "/api/records/xyz") == 404);
  CHECK(admin.status("GET", path_of(record) + "/nope") == 404);
}

TEST_CASE("a person settles what is in doubt, once") {
  Endpoints admin;
  const auto doubt = put_in_doubt(admin.store(), 1);
  CHECK(admin.ask("POST", path_of(doubt) + "/resolve", {}, "{}").status == 400);
  const auto settled = admin.ask("POST", path_of(doubt) + "/resolve", {}, settle_it);
  CHECK(settled.status == 200);
  CHECK(settled.json()["state"] == "completed");
  CHECK(settled.json()["answer"]["body_bytes"] == 5);
  const auto again = admin.ask("POST", path_of(doubt) + "/resolve", {}, settle_it);
  CHECK(again.status == 409);
  CHECK(again["Content-Type"] == "application/problem+json");
  CHECK(again.json()["detail"].get<std::string>().find("completed") != std::string::npos);
  CHECK(admin.ask("POST", "/api/records/" + to_hex(id_of(9)) + "/resolve", {}, settle_it).status ==
        404);
}

TEST_CASE("a record is forgotten, but not while in flight") {
  Endpoints admin;
  const auto done = put_completed(admin.store(), 1), running = put_in_flight(admin.store(), 2);
  const auto gone = admin.ask("DELETE", path_of(done));
  CHECK(gone.status == 204);
  CHECK(gone.body.empty());
  CHECK(admin.status("DELETE", path_of(done)) == 404);
  CHECK(admin.status("DELETE", path_of(running)) == 409);
}

TEST_CASE("statistics and metrics") {
  Endpoints admin;
  put_completed(admin.store(), 1);
  CHECK(admin.ask("GET", "/api/stats").json()["totals"]["attempts"] == 1);
  admin.metrics.count(CallStatus::replayed);
  const auto metrics = admin.ask("GET", "/metrics");
  CHECK(metrics["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8");
  for (const auto* line :
       {"# TYPE ledger_calls_total counter\n", "ledger_calls_total{status=\"replayed\"} 1\n",
        "ledger_calls_total{status=\"executed\"} 0\n",
        "ledger_settled_total{state=\"in_doubt\"} 0\n", "ledger_connections 0\n",
        "ledger_executions_in_flight 0\n", "ledger_waiters 0\n", "ledger_store_errors_total 0\n",
        "ledger_build_info{version=\"", "process_open_fds ", "process_resident_memory_bytes ",
        "process_cpu_seconds_total "})
    CHECK_MESSAGE(metrics.body.find(line) != std::string::npos, line);
}

TEST_CASE("explain over HTTP") {
  Endpoints admin;
  const auto told = admin.ask("POST", "/api/explain", {},
                              R"({"method":"POST","url":"http://a.example/x","body":{"a":1}})");
  CHECK(told.status == 200);
  CHECK(told.json()["would"] == "execute");
  CHECK(told.json()["canonical"] == R"({"a":1e0})");
  CHECK(admin.ask("POST", "/api/explain", {}, R"({"url":"ftp://x"})").status == 400);
}

TEST_CASE("unknown paths and wrong methods") {
  Endpoints admin;
  for (const auto* path : {"/nope", "/api/events", "/api/records/"})
    CHECK_MESSAGE(admin.status("GET", path) == 404, path);
  const auto wrong = admin.ask("POST", "/api/stats", {}, "{}");
  CHECK(wrong.status == 405);
  CHECK(wrong["Allow"] == "GET, HEAD");
  CHECK(admin.ask("GET", "/api/explain")["Allow"] == "POST");
  CHECK(admin.ask("PUT", "/api/records/" + to_hex(id_of(1)), {}, "x")["Allow"] ==
        "GET, HEAD, DELETE");
}

TEST_CASE("pages elsewhere cannot reach a loopback endpoint through a browser") {
  Endpoints admin;
  const auto own = admin.address();
  const auto port = own.substr(own.rfind(':'));
  const auto status = [&](Headers headers) { return admin.status("GET", "/api/stats", headers); };
  for (const auto& host : {own, "localhost" + port, "[::1]" + port, "LOCALHOST" + port})
    CHECK_MESSAGE(status({{"Host", host}}) == 200, host);
  for (const auto& host :
       {"evil.example" + port, std::string("127.0.0.1:1"), std::string("127.0.0.1"),
        "127.0.0.1.evil.example" + port, std::string(), "10.0.0.1" + port})
    CHECK_MESSAGE(status({{"Host", host}}) == 403, host);
  CHECK(status({{"Host", own}, {"Origin", "http://" + own}}) == 200);
  CHECK(status({{"Host", own}, {"Origin", "http://localhost" + port}}) == 200);
  for (const auto& origin : {std::string("http://evil.example"), "https://" + own,
                             std::string("null"), std::string("http://127.0.0.1:1"), std::string()})
    CHECK_MESSAGE(status({{"Host", own}, {"Origin", origin}}) == 403, origin);
  CHECK(status({{"Host", own}, {"Sec-Fetch-Site", "cross-site"}}) == 403);
  CHECK(status({{"Host", own}, {"Sec-Fetch-Site", "same-origin"}}) == 200);
  CHECK(admin.status("GET", "/healthz", {{"Host", "evil.example"}}) == 403);
}

TEST_CASE("beyond loopback the token protects, and a page's origin is its host") {
  Endpoints admin(R"(admin: { listen: "0.0.0.0:9090", token: t0ken })");
  const auto status = [&](const std::string& host, const std::string& origin,
                          const std::string& token) {
    Headers headers{{"Host", host}};
    if (!origin.empty()) headers.emplace_back("Origin", origin);
    if (!token.empty()) headers.emplace_back("Authorization", token);
    return admin.status("GET", "/api/stats", headers);
  };
  CHECK(status("ledger.internal:9090", "", "Bearer t0ken") == 200);
  CHECK(status("ledger.internal:9090", "", "bearer t0ken") == 200);
  CHECK(status("ledger.internal:9090", "http://ledger.internal:9090", "Bearer t0ken") == 200);
  CHECK(status("ledger.internal", "https://ledger.internal", "Bearer t0ken") == 200);
  CHECK(status("ledger.internal:9090", "http://evil.example", "Bearer t0ken") == 403);
  CHECK(status("ledger.internal:9090", "http://10.0.0.1:9090", "Bearer t0ken") == 403);
  CHECK(status("ledger.internal:9090", "null", "Bearer t0ken") == 403);
  for (const auto* token : {"", "Bearer", "Bearer ", "Bearer t0ke", "Bearer t0kenn", "Basic t0ken"})
    CHECK_MESSAGE(status("ledger.internal:9090", "", token) == 401, token);
  CHECK(admin.ask("GET", "/metrics")["WWW-Authenticate"] == "Bearer");
  CHECK(admin.status("GET", "/healthz") == 200);
  CHECK(admin.status("GET", "/readyz") == 200);
}

TEST_CASE("what changes something asks for a token everywhere; looking does not") {
  Endpoints admin;
  const auto doubt = put_in_doubt(admin.store(), 1), done = put_completed(admin.store(), 2);
  const auto file = admin.config.state_dir + "/admin-token";
  const auto token = *admin_token(admin.config);
  for (const auto& shown : {std::string(), std::string("Bearer "), "Bearer " + std::string(64, '0'),
                            "Bearer " + token.substr(1), "Basic " + token}) {
    CAPTURE(shown);
    const Headers as{{"Host", admin.address()}, {"Authorization", shown}};
    const auto refused = admin.ask("POST", path_of(doubt) + "/resolve", as, settle_it);
    CHECK(refused.status == 401);
    CHECK(refused["WWW-Authenticate"] == "Bearer");
    CHECK(refused.json()["type"] == "urn:ledger:token-required");
    const auto detail = refused.json()["detail"].get<std::string>();
    CHECK(detail.find(file) != std::string::npos);
    CHECK(detail.find(token) == std::string::npos);
    CHECK(admin.status("DELETE", path_of(done), as) == 401);
  }
  CHECK(test::load_now(admin.store(), doubt.id)->record->state == State::in_doubt);
  CHECK(admin.status("GET", path_of(done)) == 200);
  CHECK(admin.status("GET", "/api/stats") == 200);
  CHECK(admin.ask("POST", path_of(doubt) + "/resolve", {}, settle_it).status == 200);
  CHECK(admin.status("DELETE", path_of(done)) == 204);
}

TEST_CASE("the token is made once, for this user alone, and one that others can read is no token") {
  Endpoints admin;
  const auto file = admin.config.state_dir + "/admin-token";
  const auto mode = [&] { return std::filesystem::status(file).permissions(); };
  using std::filesystem::perms;
  CHECK(mode() == (perms::owner_read | perms::owner_write));
  const auto token = admin_token(admin.config);
  REQUIRE(token.has_value());
  CHECK(from_hex(*token).has_value());
  CHECK(admin_token(admin.config) == token);
  Endpoints other;
  CHECK(other.status("DELETE", "/api/records/" + to_hex(id_of(1)),
                     {{"Host", other.address()}, {"Authorization", "Bearer " + *token}}) == 401);  // no Host

  std::filesystem::permissions(file, perms::group_read, std::filesystem::perm_options::add);
  CHECK(admin_token(admin.config).error().find(file) == 0);
  const auto refused =
      admin.ask("DELETE", "/api/records/" + to_hex(id_of(1)),
                {{"Host", admin.address()}, {"Authorization", "Bearer " + *token}});
  CHECK(refused.status == 401);
  CHECK(refused.json()["detail"].get<std::string>().find("remove it") != std::string::npos);

  std::filesystem::remove(file);
  CHECK(admin_token(admin.config) != token);
  std::filesystem::remove(file);
  std::filesystem::create_symlink(admin.state.file("elsewhere"), file);
  CHECK_FALSE(admin_token(admin.config).has_value());
}

TEST_CASE("`reads: token` asks who looks, too") {
  Endpoints admin(R"(admin: { listen: "127.0.0.1:9090", reads: token })");
  const Headers as{{"Host", admin.address()},
                   {"Authorization", "Bearer " + *admin_token(admin.config)}};
  for (const auto* path : {"/", "/metrics", "/api/stats", "/api/records"}) {
    CHECK_MESSAGE(admin.status("GET", path) == 401, path);
    CHECK_MESSAGE(admin.status("GET", path, as) == 200, path);
  }
  CHECK(admin.status("POST", "/api/explain", {{"Host", admin.address()}, {"Authorization", ""}}) ==
        401);
  CHECK(admin.status("GET", "/healthz") == 200);
  CHECK(admin.status("GET", "/readyz") == 200);
}

TEST_CASE("explain tells what the store holds only to who shows the token") {
  Endpoints admin;
  const std::string call = R"({"method":"POST","url":"https://a.example/x","body":{"a":1}})";
  const Headers nobody{{"Host", admin.address()}, {"Authorization", ""}};
  const auto told = admin.ask("POST", "/api/explain", nobody, call);
  CHECK(told.status == 200);
  CHECK_FALSE(told.json().contains("would"));
  CHECK(told.json()["canonical"] == R"({"a":1e0})");
  CHECK(told.json()["key"] == admin.ask("POST", "/api/explain", {}, call).json()["key"]);
}

TEST_CASE("who settled it stands in the history") {
  Endpoints admin;
  const auto settle_by = [&](std::uint64_t n, Headers headers, const std::string& body) {
    headers.emplace(headers.begin(), "Host", admin.address());
    const auto doubt = put_in_doubt(admin.store(), n);
    const auto settled = admin.ask("POST", path_of(doubt) + "/resolve", headers, body).json();
    return settled["history"].back()["detail"].get<std::string>();
  };
  CHECK(settle_by(1, {}, R"({"verdict":"executed","by":"ann"})") == "executed, by ann");
  CHECK(settle_by(2, {{"Ledger-By", "bob"}}, R"({"verdict":"not_executed"})") ==
        "not executed, by bob");
  CHECK(settle_by(3, {}, R"({"verdict":"executed"})") == "executed, by the admin API");
  CHECK(settle_by(4, {}, R"({"verdict":"executed","by":"a\nb)" + std::string(300, 'x') + "\"}") ==
        "executed, by a b" + std::string(122, 'x') + "\u2026");
}

TEST_CASE("the front page says what there is, without a promise") {
  Endpoints admin;
  const auto page = admin.ask("GET", "/");
  CHECK(page.status == 200);
  CHECK(page["Content-Type"] == "text/plain; charset=utf-8");
  for (const auto* path : {"/healthz", "/readyz", "/metrics", "/ca.pem", "/api/stats",
                           "/api/records", "/api/explain", "/resolve", "admin-token"})
    CHECK_MESSAGE(page.body.find(path) != std::string::npos, path);
  CHECK(page.body.find(*admin_token(admin.config)) == std::string::npos);
  CHECK(admin.ask("POST", "/", {}, "x").status == 405);
}

TEST_CASE("a connection serves one request after another; HEAD has no body") {
  Endpoints admin;
  Client client(admin.address());
  client.send(
      admin.request("GET", "/healthz") + admin.request("HEAD", "/healthz") +
      admin.request("GET", "/readyz", {{"Host", admin.address()}, {"Connection", "close"}}));
  CHECK(client.read().status == 200);
  const auto head = client.read(true);
  CHECK(head.body.empty());
  CHECK(head["Content-Length"] == std::to_string(std::string("{\"status\":\"ok\"}\n").size()));
  CHECK_FALSE(client.read().keep_alive);
  CHECK_THROWS(client.read());
}

TEST_CASE("what is too large or no HTTP is told so") {
  Endpoints admin;
  const auto head = [&](const std::string& more) {
    return "POST /api/explain HTTP/1.1\r\nHost: " + admin.address() + "\r\n" + more + "\r\n\r\n";
  };
  const auto tell = [&](const std::string& bytes) {
    Client client(admin.address());
    client.send(bytes);
    const auto reply = client.read();
    CHECK_FALSE(reply.keep_alive);
    CHECK(reply["Content-Type"] == "application/problem+json");
    return reply.status;
  };
  CHECK(tell(head("Content-Length: 2000000")) == 413);
  CHECK(tell(head("Transfer-Encoding: chunked") + "1e8480\r\n" + std::string(2'000'000, 'x')) ==
        413);
  CHECK(tell(head("X: " + std::string(40'000, 'x'))) == 431);
  CHECK(tell("HELO\r\n\r\n") == 400);
  // Settling takes more: as long an answer as a proxy records.
  const std::string body =
      R"({"verdict":"executed","response":{"body":")" + std::string(3'000'000, 'x') + "\"}}";
  const auto doubt = put_in_doubt(admin.store(), 1);
  CHECK(admin.ask("POST", path_of(doubt) + "/resolve", {}, body).json()["answer"]["body_bytes"] ==
        3'000'000);
}

TEST_CASE("a stranger's body is not waited for; a guest's is asked for") {
  Endpoints admin(R"(admin: { listen: "127.0.0.1:9090", token: t0ken })");
  const auto head = [&](const std::string& token) {
    return admin.request("POST", "/api/explain",
                         {{"Host", admin.address()},
                          {"Authorization", "Bearer " + token},
                          {"Expect", "100-continue"},
                          {"Content-Length", "2"}});
  };
  Client stranger(admin.address());
  stranger.send(head("guess"));
  CHECK(stranger.read().status == 401);
  Client guest(admin.address());
  guest.send(head("t0ken"));
  CHECK(guest.read().status == 100);
  guest.send("{}");
  CHECK(guest.read().status == 400);
}

TEST_CASE("a store that hangs does not keep a health check waiting") {
  const auto store = std::move(*open_store("memory:", true, true));
  const auto record = put_completed(*store, 1);
  FaultyStore slow(*store);
  slow.on_load(1, Fault::hold_before);
  Endpoints admin("", &slow);
  Client waiting(admin.address());
  waiting.send(admin.request("GET", path_of(record)));
  while (slow.held() == 0) std::this_thread::yield();
  CHECK(admin.status("GET", "/healthz") == 200);
  slow.release();
  CHECK(waiting.read().status == 200);
}

TEST_CASE("a port in use is one line that names it") {
  Endpoints first;
  Config config = first.config;
  config.admin.port =
      static_cast<std::uint16_t>(std::stoi(first.address().substr(first.address().rfind(':') + 1)));
  const auto second = AdminServer::start(config, first.store(), first.metrics);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().find(first.address() + " is in use") == 0);
}
