// ledger.yaml that is right: what each setting becomes.
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "config/config.h"

using namespace ledger;
using namespace std::chrono_literals;

namespace {

std::map<std::string, std::string> variables = {
    {"HOME", "/home/me"}, {"TOKEN", "s3cret"}, {"WAIT", "5s"}};

std::optional<std::string> lookup(const std::string& name) {
  const auto found = variables.find(name);
  return found == variables.end() ? std::nullopt : std::optional(found->second);
}

Config load(std::string_view text) {
  auto config = parse_config(text, "t.yaml", lookup);
  std::string all;
  if (!config)
    for (const auto& error : config.error()) all += error.to_string() + "\n";
  REQUIRE_MESSAGE(config.has_value(), all);
  return std::move(*config);
}

Policy route(const std::string& keys) {
  const auto config = load("routes:\n  - {match: POST https://h/x, " + keys + "}\n");
  REQUIRE(config.routes.size() == 1);
  return config.routes.front().policy;
}

}  // namespace

TEST_CASE(
    "relative paths are taken from the config file's folder, absolute and home ones are not") {
  const auto parsed = [](std::string_view text, const char* file) {
    auto config = parse_config(text, file, lookup);
    REQUIRE(config.has_value());
    return std::move(*config);
  };
  for (const auto* text :
       {"store: sqlite:ledger.db\nstate: state\n", "store: sqlite:ledger.db\nstate: ./state\n"}) {
    const auto config = parsed(text, "/etc/ledger/ledger.yaml");
    CHECK(config.store_url == "sqlite:/etc/ledger/ledger.db");
    CHECK(std::filesystem::path(config.state_dir).lexically_normal() == "/etc/ledger/state");
  }
  CHECK(parsed("{}", "/etc/ledger/ledger.yaml").store_url == "sqlite:/etc/ledger/ledger.db");
  CHECK(parsed("{}", "conf/ledger.yaml").store_url == "sqlite:conf/ledger.db");
  CHECK(parsed("store: 'memory:'", "/etc/ledger/ledger.yaml").store_url == "memory:");
  CHECK(parsed("store: sqlite:/var/l.db", "/etc/ledger/ledger.yaml").store_url ==
        "sqlite:/var/l.db");
  CHECK(parsed("store: sqlite:~/l.db", "/etc/ledger/ledger.yaml").store_url ==
        "sqlite:/home/me/l.db");
  const auto standard = default_config();
  CHECK(standard.store_url == "sqlite:" + standard.state_dir + "/ledger.db");
}

TEST_CASE("an empty file, one of comments, and one of empty sections mean the defaults") {
  const auto standard = default_config();
  for (const auto* text : {"", "\n\n", "# nothing\n", "---\n",
                           "admin:\nstore:\nmounts:\nlisteners:\n"
                           "routes:\nlimits:\ntls:\nauth:\ndefaults:\n",
                           "{}"}) {
    CAPTURE(text);
    const auto config = load(text);
    CHECK(config.listeners.size() == 1);
    CHECK(config.listeners[0].listen == Endpoint{"127.0.0.1", 8080});
    CHECK_FALSE(config.listeners[0].upstream);
    CHECK(config.admin == Endpoint{"127.0.0.1", 9090});
    CHECK(config.store_url == "sqlite:ledger.db");
    CHECK(config.durability == Durability::full);
    CHECK(config.defaults.of("POST").guarded);
    CHECK(config.defaults.of("PATCH").guarded);
    CHECK_FALSE(config.defaults.of("GET").guarded);
    CHECK(config.state_dir == standard.state_dir);
    CHECK(config.mounts.empty());
    CHECK(config.routes.empty());
    CHECK(config.threads == 0);
  }
}

TEST_CASE("the top of the file says where to listen, and where to keep things") {
  const auto config = load(R"(
listen: "[::1]:0"
admin: {listen: localhost:1}
store: {url: "sqlite:~/l.db", durability: normal}
state: ~/state
)");
  CHECK(config.listeners[0].listen == Endpoint{"::1", 0});
  CHECK(config.admin == Endpoint{"localhost", 1});
  CHECK(config.store_url == "sqlite:/home/me/l.db");
  CHECK(config.durability == Durability::normal);
  CHECK(config.state_dir == "/home/me/state");
  CHECK(load("store: \"memory:\"").store_url == "memory:");
}

TEST_CASE("beyond loopback is fine with a token") {
  const auto config = load(R"(
listen: 0.0.0.0:8080
auth: {token: "${TOKEN}"}
admin: {listen: 0.0.0.0:9090, token: abc}
)");
  CHECK(config.auth_token == "s3cret");
  CHECK(config.admin_token == "abc");
}

TEST_CASE("limits belong to the process, and two of them are every route's default") {
  const auto config = load(R"(
routes: [{match: POST /a}, {match: POST /b, body_max: 7}]
defaults: {response_max: 3KiB}
limits: {header_max: 8KiB, connections: 5, idle_timeout: 1s, header_timeout: 2s,
         connect_timeout: 3s, drain_timeout: 0s, threads: 2, body_max: 2KiB, response_max: 1KiB}
)");
  CHECK(config.header_max == 8192);
  CHECK(config.connections_max == 5);
  CHECK(config.idle_timeout == 1s);
  CHECK(config.header_timeout == 2s);
  CHECK(config.connect_timeout == 3s);
  CHECK(config.drain_timeout == 0s);
  CHECK(config.threads == 2);
  CHECK(config.routes[0].policy.body_max == 2048);
  CHECK(config.routes[0].policy.response_max == 3072);
  CHECK(config.routes[1].policy.body_max == 7);
  CHECK(config.defaults.of("POST").body_max == 2048);
  CHECK(config.defaults.of("GET").body_max == 2048);
}

TEST_CASE("methods in defaults change one by one; POST and PATCH stay guarded until they are set") {
  const auto put = load("defaults: {PUT: once}").defaults;
  for (const auto* method : {"POST", "PATCH", "PUT"}) CHECK(put.of(method).guarded);
  CHECK_FALSE(put.of("DELETE").guarded);
  const auto post = load("defaults: {POST: pass, PURGE: once}").defaults;
  CHECK_FALSE(post.of("POST").guarded);
  CHECK(post.of("PATCH").guarded);
  CHECK(post.of("PURGE").guarded);
}

TEST_CASE("policy keys in defaults are where routes and unnamed calls start, wherever they stand") {
  const auto config = load(R"(
routes:
  - {match: POST /a, wait: 1s}
  - {match: POST /b, policy: pass}
defaults: {timeout: 10s, wait: 5s, scope: agent, PUT: once, outcomes: {completed: 404}}
)");
  CHECK(config.routes[0].policy.timeout == 10s);
  CHECK(config.routes[0].policy.wait == 1s);
  CHECK(config.routes[0].policy.identity.scope == std::vector{ScopePart::agent});
  CHECK(config.routes[0].policy.outcomes.of(404, false, false) == Verdict::completed);
  CHECK_FALSE(config.routes[1].policy.guarded);
  CHECK(config.defaults.of("PUT").guarded);
  CHECK(config.defaults.of("PUT").wait == 5s);
  CHECK(config.defaults.of("GET").timeout == 0s);  // what passes may last
  CHECK_FALSE(config.defaults.of("GET").guarded);
}

TEST_CASE("a route without keys has the documented policy") {
  const auto policy = route("name: x");
  CHECK(policy.guarded);
  CHECK(policy.max == 1);
  CHECK(policy.ttl == Duration(24h));
  CHECK(policy.on_duplicate == OnDuplicate::replay);
  CHECK(policy.on_in_flight == OnInFlight::wait);
  CHECK(policy.wait == 60s);
  CHECK_FALSE(policy.in_doubt);
  CHECK_FALSE(policy.in_doubt_ttl);
  CHECK(policy.outcomes == Outcomes());
  CHECK(policy.timeout == 80s);
  CHECK(policy.upstream_key.empty());
  CHECK(policy.upstream_key_ttl == 23h);
  CHECK(policy.body_max == 1048576);
  CHECK(policy.response_max == 8388608);
  CHECK(policy.identity.scope == std::vector{ScopePart::credential});
  CHECK(policy.identity.key == nullptr);
  CHECK_FALSE(policy.identity.exact_floats);
  CHECK(policy.identity.idempotency_key == IdempotencyKeyMode::automatic);
}

TEST_CASE("every key of a route sets its field") {
  CHECK_FALSE(route("policy: pass").guarded);
  CHECK(route("max: 3").max == 3);
  CHECK(route("ttl: 7d").ttl == Duration(168h));
  CHECK(route("ttl: forever").ttl == std::nullopt);
  CHECK(route("on_duplicate: block").on_duplicate == OnDuplicate::block);
  CHECK(route("on_in_flight: refuse").on_in_flight == OnInFlight::refuse);
  CHECK(route("wait: 0s").wait == 0s);
  CHECK(route("in_doubt: hold").in_doubt == InDoubt::hold);
  CHECK(route("in_doubt: retry, upstream_key: X-Key").when_in_doubt() == InDoubt::retry);
  CHECK(route("in_doubt_ttl: 1h").in_doubt_ttl == Duration(1h));
  CHECK(route("timeout: 500ms").timeout == 500ms);
  CHECK(route("upstream_key: X-Key, upstream_key_ttl: 1h").upstream_key == "X-Key");
  CHECK(route("upstream_key_ttl: 1h").upstream_key_ttl == 1h);
  CHECK(route("headers: X-Shop").identity.headers == std::vector<std::string>{"X-Shop"});
  CHECK(route("headers: [A, B]").identity.headers == std::vector<std::string>{"A", "B"});
  CHECK(route("credential_headers: [X-Me]").identity.credential_headers ==
        std::vector<std::string>{"X-Me"});
  CHECK(route("ignore: ['form:metadata[trace_id]', 'body:/a/*/b', 'query:t']")
            .identity.ignore.size() == 3);
  CHECK(route("scope: none").identity.scope.empty());
  CHECK(route("scope: [none]").identity.scope.empty());
  CHECK(route("scope: run").identity.scope == std::vector{ScopePart::run});
  CHECK(route("scope: [agent, run]").identity.scope ==
        std::vector{ScopePart::agent, ScopePart::run});
  CHECK(route("idempotency_key: honour").identity.idempotency_key == IdempotencyKeyMode::honour);
  CHECK(route("idempotency_key: ignore").identity.idempotency_key == IdempotencyKeyMode::ignore);
  CHECK(route("float_digits: exact").identity.exact_floats);
  CHECK_FALSE(route("float_digits: 8").identity.exact_floats);
  CHECK(route("body_max: 64KiB").body_max == 65536);
  CHECK(route("response_max: 5").response_max == 5);
  CHECK(route("key: fingerprint").identity.key == nullptr);
}

TEST_CASE("a key template keeps its own ${...} and takes variables beside them") {
  const auto config = load(R"(
routes:
  - {match: "POST /orders/{id}", key: "${TOKEN}-${path:id}-${body:/metadata/order_id}"}
)");
  const auto& key = config.routes[0].policy.identity.key;
  REQUIRE(key != nullptr);
  REQUIRE(key->parts.size() == 4);
  CHECK(key->parts[0].text == "s3cret-");
  CHECK(key->parts[1].kind == KeyTemplate::Part::Kind::path);
  CHECK(key->parts[1].text == "id");
  CHECK(key->parts[3].kind == KeyTemplate::Part::Kind::body);
}

TEST_CASE("outcomes change only the statuses that they name") {
  const auto outcomes =
      route("outcomes: {completed: [2xx, 3xx, 404], released: [409, 503], in_doubt: 429}").outcomes;
  CHECK(outcomes.of(404, false, false) == Verdict::completed);
  CHECK(outcomes.of(400, false, false) == Verdict::released);
  CHECK(outcomes.of(409, false, true) == Verdict::released);
  CHECK(outcomes.of(503, false, false) == Verdict::released);
  CHECK(outcomes.of(429, false, false) == Verdict::in_doubt);
  CHECK(outcomes.of(500, false, false) == Verdict::in_doubt);
  CHECK(outcomes.of(408, false, false) == Verdict::in_doubt);
}

TEST_CASE("a route without a name is named by its match") {
  const auto config = load("routes: [{match: \"POST   https://h/x\"}, {name: b, match: POST /y}]");
  CHECK(config.routes[0].name == "POST https://h/x");
  CHECK(config.routes[1].name == "b");
}

TEST_CASE("mounts take a map or their upstream alone, and the longest prefix comes first") {
  const auto config = load(R"(
mounts:
  /: http://127.0.0.1:1
  /stripe: {upstream: "https://api.stripe.com", upstream_key: Idempotency-Key}
  /stripe/files: https://files.stripe.com/v2
)");
  REQUIRE(config.mounts.size() == 3);
  CHECK(config.mounts[0].prefix == "/stripe/files");
  CHECK(config.mounts[1].upstream_key == "Idempotency-Key");
  CHECK(config.mounts[2].prefix == "/");
  const auto at = [&](const char* target) -> std::string {
    const auto mounted = mount_target(config.mounts, target);
    if (!mounted) return mounted.error() == NotMounted::no_mount ? "none" : "climbs out";
    return mounted->url.to_string();
  };
  CHECK(at("/stripe/v1/charges?a=b") == "https://api.stripe.com/v1/charges?a=b");
  CHECK(at("/stripe") == "https://api.stripe.com/");
  CHECK(at("/stripe/") == "https://api.stripe.com/");
  CHECK(at("/stripe?x") == "https://api.stripe.com/?x");
  CHECK(at("/stripe/files") == "https://files.stripe.com/v2");
  CHECK(at("/stripe/files/a") == "https://files.stripe.com/v2/a");
  CHECK(at("/stripes") == "http://127.0.0.1:1/stripes");
  CHECK(at("/") == "http://127.0.0.1:1/");
  CHECK(at("/stripe/v1/../v2/./x") == "https://api.stripe.com/v1/../v2/./x");
  CHECK(at("/x/../y") == "http://127.0.0.1:1/x/../y");
  for (const auto* target :
       {"/stripe/../x", "/stripe/%2e%2e/x", "/stripe/.%2E", "/stripe/files/../v1",
        "/stripe/a/../../x", "/x/../stripe/y", "/./stripe/x", "/../x", "/stripe/..%2fx",
        "/stripe/..%5cx", "/stripe/..\\x", "/stripe/a//../../x", "/stripe/..;/x",
        "/stripe/v1/../files/x"}) {
    CAPTURE(target);
    CHECK(at(target) == "climbs out");
  }
  CHECK(at("*") == "none");
  CHECK(at("") == "none");
}

TEST_CASE("what follows a mount goes below its upstream, whatever the spelling of both") {
  const auto config = load("mounts: {/a: \"http://up/%7Eb/\", /c: \"http://up/c\"}");
  const auto at = [&](const char* target) {
    const auto mounted = mount_target(config.mounts, target);
    REQUIRE(mounted);
    CHECK(normalise_path(mounted->url.spelled_path()) == mounted->url.path);
    return mounted->url.to_string();
  };
  CHECK(at("/a") == "http://up/%7Eb/");
  CHECK(at("/a/x?y") == "http://up/%7Eb/x?y");
  CHECK(at("/a/%78") == "http://up/%7Eb/%78");
  CHECK(at("/%61/%78") == "http://up/%7Eb/%78");
  // Dot segments that come to light only when decoded twice do not lead out of it.
  CHECK(at("/c/x/../%%32%65%%32%65/y") == "http://up/c/x/../%%32%65%%32%65/y");
}

TEST_CASE("without a catch-all an unmounted path has no upstream") {
  const auto config = load("mounts: {/stripe: https://api.stripe.com}");
  CHECK(mount_target(config.mounts, "/stripe/x"));
  CHECK_FALSE(mount_target(config.mounts, "/stripes"));
  CHECK_FALSE(mount_target(config.mounts, "/Stripe"));
  CHECK_FALSE(mount_target(config.mounts, "/"));
}

TEST_CASE("more listeners come after the first, with or without an upstream") {
  const auto config = load(R"(
listeners:
  - {listen: 127.0.0.1:8081, upstream: "https://api.twilio.com", upstream_key: X-Key}
  - {listen: 127.0.0.1:8082}
)");
  REQUIRE(config.listeners.size() == 3);
  CHECK(config.listeners[1].upstream->host == "api.twilio.com");
  CHECK(config.listeners[1].upstream_key == "X-Key");
  CHECK_FALSE(config.listeners[2].upstream);
}

TEST_CASE("in_doubt: retry is fine where the key comes from the mount or the listener") {
  CHECK(load(R"(
mounts: {/s: {upstream: "https://s.com", upstream_key: K}}
routes: [{match: POST https://s.com/x, in_doubt: retry}, {match: POST /y, in_doubt: retry}]
)")
            .routes.size() == 2);
  CHECK(load(R"(
listeners: [{listen: "127.0.0.1:1", upstream: "https://t.com", upstream_key: K}]
routes: [{match: "POST https://*.com/**", in_doubt: retry}]
)")
            .routes.size() == 1);
  CHECK(load(R"(
defaults: {in_doubt: retry}
routes: [{match: POST https://s.com/x, upstream_key: K}, {match: POST /y}]
)")
            .routes[1]
            .policy.when_in_doubt() == InDoubt::hold);
}

TEST_CASE("variables stand for whole values and parts of them, and never for YAML") {
  variables["INJECT"] = "5s\nmax: 9 # {";
  CHECK(route("wait: '${WAIT}'").wait == 5s);
  CHECK_FALSE(parse_config("defaults: {wait: '${INJECT}'}", "t.yaml", lookup));
  CHECK(load("state: /x/${NOPE:-a b}").state_dir == "/x/a b");
}

TEST_CASE("anchors and aliases work as YAML has them") {
  const auto config = load(R"(
routes:
  - {match: POST /a, outcomes: &o {completed: [404]}}
  - {match: POST /b, outcomes: *o}
)");
  CHECK(config.routes[1].policy.outcomes.of(404, false, false) == Verdict::completed);
}

TEST_CASE("a file is read as its text is, and one that cannot be read is an error") {
  const std::string path = "test_config_tmp.yaml";
  std::ofstream(path) << "\xEF\xBB\xBFlisten: 127.0.0.1:7\r\n";
  const auto config = load_config(path, lookup);
  REQUIRE(config.has_value());
  CHECK(config->listeners[0].listen.port == 7);
  std::ofstream(path, std::ios::trunc).close();
  CHECK(load_config(path, lookup).has_value());
  std::remove(path.c_str());

  const auto missing = load_config("no/such/file.yaml", lookup);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().front().to_string() ==
        "no/such/file.yaml: cannot be read: No such file or directory");
  const auto directory = load_config("/", lookup);
  REQUIRE_FALSE(directory.has_value());
  CHECK(directory.error().front().message.find("cannot be read") == 0);
}
