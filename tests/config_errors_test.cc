// ledger.yaml that is wrong: each mistake with its place, and with what to do instead.
#include <doctest/doctest.h>

#include <random>
#include <set>

#include "config/config.h"

using namespace ledger;

namespace {

std::optional<std::string> no_variables(const std::string& name) {
  return name == "HOME" ? std::optional<std::string>("/home/me") : std::nullopt;
}

std::vector<ConfigError> errors(std::string_view text) {
  auto config = parse_config(text, "t.yaml", no_variables);
  return config ? std::vector<ConfigError>() : config.error();
}

// The only error of `text`.
std::string error(std::string_view text) {
  const auto all = errors(text);
  std::string joined;
  for (const auto& one : all) joined += one.to_string() + "\n";
  CAPTURE(text);
  CAPTURE(joined);
  REQUIRE(all.size() == 1);
  return all.front().to_string();
}

// Does the only error of `text` start with the place and hold the words?
bool refused(std::string_view text, std::string_view place, std::string_view words) {
  const auto message = error(text);
  const bool fits = message.starts_with("t.yaml:" + std::string(place) + ": ") &&
                    message.find(words) != std::string::npos;
  CAPTURE(text);
  CAPTURE(message);
  CHECK(fits);
  return fits;
}

// The same for the keys of a route, whose first key stands at 3:5.
bool route_refused(const std::string& keys, std::string_view place, std::string_view words) {
  return refused("routes:\n  - match: POST https://h/{id}\n    " + keys + "\n", place, words);
}

}  // namespace

TEST_CASE("an unknown key is refused with the nearest word") {
  route_refused("on_duplicat: replay", "3:5",
                "unknown key `on_duplicat`; did you mean `on_duplicate`?");
  route_refused("onInFlight: wait", "3:5", "did you mean `on_in_flight`?");
  refused("lisen: 127.0.0.1:1", "1:1", "did you mean `listen`?");
  refused("limits: {conections: 1}", "1:10", "did you mean `connections`?");
  refused("admin:\n  tokn: x", "2:3", "did you mean `token`?");
  refused("store: {path: x}", "1:9", "known in `store`: url, durability");
  refused("defaults: {post: once}", "1:12", "did you mean `POST`?");
  refused("defaults: {TIMEOUT: 5s}", "1:12", "did you mean `timeout`?");
  refused("routes: [{match: POST /x, outcomes: {complete: 2xx}}]", "1:38",
          "did you mean `completed`?");
}

TEST_CASE("a key in the wrong place is told where it belongs") {
  refused("ttl: 5s", "1:1",
          "`ttl` does not belong at the top of the file; it belongs in `defaults` or in a route");
  refused("token: x", "1:1", "it belongs in `admin` or in `auth`");
  refused("ttll: 5s", "1:1", "did you mean `ttl`? It belongs in `defaults` or in a route");
  route_refused("connect_timeout: 5s", "3:5", "it belongs in `limits`");
  route_refused("released: 4xx", "3:5", "it belongs in `outcomes`");
  refused("defaults: {policy: once}", "1:12", "it belongs in a route");
  refused("mounts: {/s: {upstream: \"http://h\", timeout: 5s}}", "1:37",
          "in `defaults` or in a route");
}

TEST_CASE("a switch or a number where a name is wanted is refused with what to write") {
  for (const auto* word : {"true", "yes", "on", "True", "YES", "false", "no", "off", "1", "null",
                           "\"true\"", "auto", "12.5"}) {
    CAPTURE(word);
    const auto key = "upstream_key: " + std::string(word);
    if (std::string(word) == "null")
      CHECK(route_refused(key, "3:5", "has no value"));
    else
      CHECK(route_refused(key, "3:19",
                          "write the header by which this upstream deduplicates, "
                          "`upstream_key: Idempotency-Key`"));
  }
  refused("mounts: {/s: {upstream: https://h, upstream_key: true}}", "1:50",
          "`upstream_key: Idempotency-Key`");
  refused("listeners: [{listen: \"127.0.0.1:1\", upstream: https://h, upstream_key: on}]", "1:72",
          "`upstream_key: Idempotency-Key`");
  refused("defaults: {upstream_key: yes}", "1:26", "`upstream_key: Idempotency-Key`");
  route_refused("headers: true", "3:14", "not a header name");
  route_refused("credential_headers: [X-A, yes]", "3:31", "not a header name");
  refused("auth: {token: true}", "1:15", "is no secret: write a token of your own");
  refused("admin: {token: \"on\"}", "1:16", "is no secret");
}

TEST_CASE("a part of the call that is spelled as elsewhere is told as it is spelled here") {
  route_refused("key: \"o-${body.x.y}\"", "3:10", "a part of the call is `${body:/x/y}`");
  route_refused("key: \"${request.body.items[0].id}\"", "3:10", "`${body:/items/0/id}`");
  route_refused("key: \"${body['x']}\"", "3:10", "`${body:/x}`");
  route_refused("key: \"${headers.X-Shop}\"", "3:10", "`${header:X-Shop}`");
  route_refused("key: \"${form.metadata.order_id}\"", "3:10", "`${form:metadata[order_id]}`");
  route_refused("key: \"${query.id}\"", "3:10", "`${query:id}`");
  route_refused("key: \"${body:x.y}\"", "3:10", "did you mean `${body:/x/y}`?");
  route_refused("key: \"${body:order_id}\"", "3:10", "did you mean `${body:/order_id}`?");
  route_refused("key: body.order_id", "3:10", "did you mean `${body:/order_id}`?");
  route_refused("ignore: [body.trace.id]", "3:14", "did you mean `body:/trace/id`?");
  route_refused("ignore: [form.trace]", "3:14", "did you mean `form:trace`?");
  route_refused("upstream_key: body.idempotency_key", "3:19",
                "did you mean `body:/idempotency_key`?");
  route_refused("upstream_key: header:Idempotency-Key", "3:19", "did you mean `Idempotency-Key`?");
  route_refused("probe: {get: \"/c?r=${body.r}\", executed_if: /id}", "3:18", "`${body:/r}`");
  route_refused("probe: {get: \"/c?r=${body:/r}\", executed_if: \"$.data[0].id\"}", "3:50",
                "is a JSON pointer: `/data/0/id`");
}

TEST_CASE("the words of other tools are told by what they are called here") {
  route_refused("unlimited: true", "3:5", "write `policy: pass`");
  route_refused("once: true", "3:5", "write `policy: once`");
  route_refused("replay: true", "3:5", "write `on_duplicate: replay`");
  route_refused("max_calls: 2", "3:5", "write `max: 2`");
  route_refused("expires: 5m", "3:5", "write `ttl: 24h`");
  route_refused("idempotency_header: Idempotency-Key", "3:5",
                "write `upstream_key: Idempotency-Key`");
  for (const auto* key : {"url", "path", "host", "method", "endpoint"}) {
    route_refused(std::string(key) + ": https://h/x", "3:5",
                  "write `match: POST https://api.example.com/v1/charges`");
  }
  route_refused("policy: unlimited", "3:13", "write `policy: pass`");
  route_refused("policy: replay", "3:13", "`on_duplicate: replay`");
  refused("persist: ledger.db", "1:1", "write `store: sqlite:ledger.db`");
  refused("port: 8080", "1:1", "write `listen: 127.0.0.1:8080`");
  refused("policies: []", "1:1", "write `routes:`");
  refused("mounts: {/s: {url: \"https://h\", upstream: \"https://h\"}}", "1:15",
          "write `upstream: https://api.example.com`");
  refused("defaults: {unlimited: true}", "1:12", "write `defaults: { POST: pass }`");
}

TEST_CASE("what is promised for later is refused by name, never ignored") {
  route_refused("tool: send_email", "3:5", "`tool` is not supported yet in this version");
  refused("store: postgres://h/db", "1:8", "not supported yet");
  refused("<<: {a: b}", "1:1", "merge keys");
}

TEST_CASE("a probe says what to ask and how to read the answer") {
  route_refused("probe: x", "3:12", "takes keys and values");
  route_refused("probe: {get: \"/c?r=${body:/r}\"}", "3:5", "needs both `get` and `executed_if`");
  route_refused("probe: {get: \"c?r=${body:/r}\", executed_if: /id}", "3:18",
                "is a URL, or a path");
  route_refused("probe: {get: \"/c?r=${body:/r}\", executed_if: id}", "3:50", "is a JSON pointer");
  route_refused("probe: {get: /c, executed_if: /id}", "3:18", "`get`:");
  route_refused("probe: {gets: /c, executed_if: /id}", "3:13", "did you mean `get`");
}

TEST_CASE("a probe's credentials go to no host that a call chooses") {
  const std::string path = "probe: {get: \"/c?r=${body:/r}\", executed_if: /id",
                    sent = ", headers: {A: b}}";
  const auto route = [](const std::string& match, const std::string& probe) {
    return "routes:\n  - match: POST " + match + "\n    " + probe + "\n";
  };
  for (const auto* any : {"/c", "http://*.h.test/c", "*.h.test:*/c"})
    refused(route(any, path + sent), "3:5", "name one host in `match`");
  refused("defaults: {" + path + sent + "}", "1:12", "write `get` with its host");
  for (const auto* one : {"https://h/c", "h/c"}) CHECK(errors(route(one, path + sent)).empty());
  const std::string at_host = "probe: {get: \"https://h/c?r=${body:/r}\", executed_if: /id" + sent;
  CHECK(errors(route("/c", at_host)).empty());
  CHECK(errors("defaults: {" + at_host + "}").empty());
  // Without credentials of Ledger's nothing can leak: a repeat's own are used, or none.
  CHECK(errors(route("/c", path + "}")).empty());
  CHECK(errors(route("/c", path + ", headers: {}}")).empty());
}

TEST_CASE("a key that stands twice is refused with the line of the first") {
  refused("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2", "2:1", "already on line 1");
  route_refused("max: 1\n    max: 2", "4:5", "already on line 3");
}

TEST_CASE("a value of the wrong kind is refused at its place") {
  refused("- a", "1:1", "not a list");
  refused("hello", "1:1", "not plain text");
  refused("routes: {match: POST /x}", "1:9", "`routes` is a list");
  refused("routes: [POST /x]", "1:10", "a route takes keys and values");
  refused("listeners: 127.0.0.1:1", "1:12", "`listeners` is a list");
  refused("mounts: [a]", "1:9", "`mounts` takes keys and values");
  refused("limits: 5", "1:9", "`limits` takes keys and values");
  refused("listen: [a]", "1:9", "takes one value here, not a list");
  refused("listen: {a: b}", "1:9", "takes one value here, not keys and values");
  refused("listen:", "1:1", "has no value");
  refused("listen: \"\"", "1:9", "the value is empty");
  refused("? [a]\n: b", "1:3", "a key is plain text");
  route_refused("headers: [[A]]", "3:15", "takes one value here");
}

TEST_CASE("a bad value is refused with what is accepted") {
  route_refused("policy: onse", "3:13", "`onse` is not one of once, pass; did you mean `once`?");
  route_refused("on_duplicate: refuse", "3:19", "is not one of replay, block");
  route_refused("ttl: 5", "3:10", "write `5s` for seconds");
  route_refused("ttl: -5s", "3:10", "not a duration");
  route_refused("ttl: 0s", "3:10", "out of range");
  route_refused("wait: forever", "3:11", "not a duration");
  route_refused("timeout: 0s", "3:14", "from 1ms to 24h");
  route_refused("max: 0", "3:10", "from 1 to 1000000");
  route_refused("max: many", "3:10", "not a whole number");
  route_refused("body_max: 1MB", "3:15", "did you mean `1MiB`?");
  route_refused("body_max: 1GiB", "3:15", "to 256MiB");
  route_refused("float_digits: 6", "3:19", "is not one of 8, exact");
  route_refused("scope: [agent, none]", "3:20", "`none` stands alone");
  route_refused("scope: [agnt]", "3:13", "did you mean `agent`?");
  route_refused("scope: []", "3:5", "write `none`");
  route_refused("scope: [run, run]", "3:18", "stands twice");
  route_refused("headers: [A, \"B C\"]", "3:18", "not a header name");
  route_refused("upstream_key: Content-Length", "3:19", "another meaning");
  route_refused("ignore: [header:X]", "3:14", "`ignore`");
  route_refused("name: a b", "3:11", "without spaces");
  refused("auth: {token: a b}", "1:15", "without spaces");
  refused("limits: {threads: 1000}", "1:19", "from 0 to 256");
  refused("defaults: {POST: twice}", "1:18", "not one of once, pass");
  refused("listen: :8080", "1:9", "0.0.0.0:8080");
  refused("tls: {roots: [/no/such/root.pem]}", "1:15", "is not a file");
  refused("tls: {ca: /no/such/ca.pem, ca_key: /etc/hostname}", "1:11", "is not a file");
  refused("tls: {ca: /etc/hostname}", "1:7", "`ca` needs `ca_key` beside it");
  refused("tls: {client_key: /etc/hostname}", "1:7", "`client_key` needs `client_cert` beside it");
  refused("state: ~you/x", "1:8", "your own home");
}

TEST_CASE("a variable that is not set is named, at its place") {
  refused("auth:\n  token: ${LEDGER_TOKEN}", "2:10", "`LEDGER_TOKEN` is not set");
  route_refused("wait: ${header:X}", "3:11", "only `key` and `label` can hold");
}

TEST_CASE("outcomes cannot say two things of one status") {
  route_refused("outcomes: {completed: [404], released: [404]}", "3:45", "already in `completed`");
  route_refused("outcomes: {completed: [2xx, 2xx]}", "3:33", "stands twice");
  route_refused("outcomes: {completed: [1xx]}", "3:28", "from 2xx to 5xx");
  route_refused("outcomes: {completed: [99]}", "3:28", "from 200 to 599");
  CHECK(errors("routes: [{match: POST /x, outcomes: {completed: 4xx, released: 404}}]").empty());
}

TEST_CASE("a key must name parts that the call can have, and must vary") {
  route_refused("key: \"${path:sid}\"", "3:10", "captures no `{sid}`");
  route_refused("key: order_id", "3:10", "all calls of the route the same");
  route_refused("key: \"${cookie:x}\"", "3:10", "`key`");
  route_refused("key: \"${body:no-slash}\"", "3:10", "`key`");
  refused("defaults: {key: \"${path:id}\"}", "1:17", "belongs in a route");
  CHECK(errors("routes: [{match: \"POST /{id}\", key: \"${path:id}\"}]").empty());
}

TEST_CASE("a label names parts that the call can have, and may stand without one") {
  route_refused("label: \"${path:sid}\"", "3:12", "captures no `{sid}`");
  route_refused("label: \"${cookie:x}\"", "3:12", "`label`");
  refused("defaults: {label: \"${path:id}\"}", "1:19", "belongs in a route");
  CHECK(errors("routes: [{match: \"POST /{id}\", label: \"${path:id}\"}]").empty());
  CHECK(errors("routes: [{match: POST /x, label: a charge}]").empty());
  CHECK(errors("defaults: {label: \"${body:/to}\"}").empty());
}

TEST_CASE("a route that passes has no use for the guard's keys") {
  const auto all = errors("routes: [{match: POST /x, policy: pass, max: 2, ttl: 1h}]");
  REQUIRE(all.size() == 2);
  CHECK(all[0].message.find("`max` has no effect") == 0);
  CHECK(all[1].message.find("`ttl` has no effect") == 0);
  CHECK(errors("routes: [{match: POST /x, policy: pass, timeout: 2s}]").empty());
  CHECK(errors("defaults: {max: 2}\nroutes: [{match: POST /x, policy: pass}]").empty());
}

TEST_CASE("in_doubt: retry without any upstream key is refused") {
  route_refused("in_doubt: retry", "3:15", "could act twice");
  refused(
      "mounts: {/s: {upstream: \"https://s.com\", upstream_key: K}}\n"
      "routes: [{match: POST https://other.com/x, in_doubt: retry}]",
      "2:54", "could act twice");
  refused("defaults: {in_doubt: retry}", "1:22", "nothing in this file has one");
}

TEST_CASE("a method that is only like one would never match, and is told") {
  refused("routes: [{match: PSOT https://h/x}]", "1:18",
          "`PSOT` is not a method; did you mean `POST`?");
  refused("routes: [{match: GET|post /x}]", "1:18", "`post` is not a method; did you mean `POST`?");
  refused("defaults: {PATHC: once}", "1:12", "did you mean `PATCH`?");
  refused("defaults: {Post: once}", "1:12", "did you mean `POST`?");
  CHECK(errors("routes: [{match: \"MKCALENDAR|PROPFIND|LIST|PURGE|MOVE|M-SEARCH /x\"}]").empty());
}

TEST_CASE("a route needs a match that can be read") {
  refused("routes:\n  - name: x\n", "2:5", "needs a `match`");
  refused("routes:\n  - match: POST\n", "2:12", "`match`: ");
  refused("routes:\n  -\n", "1:1", "an item of this list is empty");
  refused("listeners: [~]", "1:1", "an item of this list is empty");
  refused("routes: [{match: POST /x, headers: [A, ~]}]", "1:27", "has no value");
}

TEST_CASE("a route that an earlier one hides is refused with the name of that one") {
  refused(
      "routes:\n  - {name: all, match: \"POST https://h/**\"}\n  - {name: one, match: POST "
      "https://h/x}\n",
      "3:24", "this route can never match: `all` (line 2)");
  CHECK(errors("routes: [{name: one, match: POST https://h/x}, {name: all, match: \"POST "
               "https://h/**\"}]")
            .empty());
}

TEST_CASE("two routes cannot share a name") {
  refused("routes:\n  - {name: a, match: POST /x}\n  - {name: a, match: POST /y}\n", "3:12",
          "two routes have the name `a`; the other one is on line 2");
}

TEST_CASE("a mount is a path of its own, with an upstream") {
  refused("mounts: {stripe: https://h}", "1:10", "did you mean `/stripe`?");
  refused("mounts: {/stripe/: https://h}", "1:10", "no final slash; write `/stripe`");
  refused("mounts: {/s/*: https://h}", "1:10", "plain path");
  refused("mounts: {/s: {}}", "1:10", "needs an `upstream`");
  refused("mounts: {/s:}", "1:10", "needs an `upstream`");
  refused("mounts: {/s: api.stripe.com}", "1:14", "did you mean `https://api.stripe.com`?");
  refused("mounts: {/s: \"https://h/?a\"}", "1:14", "no query");
  refused("mounts: {/s: https://h, /%73: https://h}", "1:25", "the same mount");
  refused("mounts: {/s: https://h, /s: https://h}", "1:25", "stands twice");
}

TEST_CASE("a listener needs an address that no other has") {
  refused("listeners: [{upstream: \"https://h\"}]", "1:13", "needs a `listen`");
  refused("listeners: [{listen: \"127.0.0.1:1\", upstream_key: K}]", "1:37", "needs an `upstream`");
  refused("listeners: [{listen: \"127.0.0.1:8080\"}]", "1:13",
          "cannot both listen on 127.0.0.1:8080");
  refused("listen: localhost:9090", "1:9", "`admin.listen` and `listen` cannot both listen");
  CHECK(errors("listen: 127.0.0.1:0\nlisteners: [{listen: \"127.0.0.1:0\"}]").empty());
}

TEST_CASE("listening beyond loopback needs a token") {
  refused("listen: 0.0.0.0:8080", "1:9", "set `auth.token`");
  refused("listen: \"[::]:8080\"", "1:9", "set `auth.token`");
  refused("listeners: [{listen: \"10.0.0.1:1\", upstream: \"https://h\"}]", "1:13",
          "set `auth.token`");
  refused("admin: {listen: 0.0.0.0:9090}\nauth: {token: x}", "1:17", "set `admin.token`");
  refused("listen: 0.0.0.0:8080\nadmin: {token: x}", "1:9", "set `auth.token`");
  // The variable is the mistake; the missing token is not another one.
  refused("listen: 0.0.0.0:8080\nauth: {token: \"${NOPE}\"}", "2:15", "`NOPE` is not set");
}

TEST_CASE("text that is not YAML is refused where it breaks") {
  refused("a: [1", "1:1", "not YAML");
  refused("listen: 127.0.0.1:1\n bad: 2", "2:5", "not YAML");
  refused("routes:\n  - match: * https://h/x", "2:13", "in quotes");
  refused("listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2", "2:1", "second document");
  // JSON's comma behind the last value; yaml-cpp would find documents there without end.
  refused("{listen: \"127.0.0.1:1\"},", "1:24", "behind the end of the first");
  refused(", listen: 127.0.0.1:1", "1:1", "behind the end of the first");
}

TEST_CASE("all mistakes are reported at once, in the order of the file") {
  const auto all = errors(R"(
lisen: x
routes:
  - {match: POST /x, ttl: 5}
  - {match: GET, wait: soon}
limits: {threads: -1}
)");
  std::vector<int> lines;
  for (const auto& one : all) lines.push_back(one.line);
  CHECK(lines == std::vector{2, 4, 5, 5, 6});
}

TEST_CASE("no text, however broken, crashes the loader or yields an error without a message") {
  const std::string seed =
      "listen: 127.0.0.1:1\nadmin: {listen: \"[::1]:2\"}\ndefaults: {POST: once, wait: 5s}\n"
      "mounts: {/s: &u https://h}\nlisteners: [{listen: localhost:3, upstream: *u}]\nroutes:\n"
      "  - match: POST|PUT https://*.h/{id}/**\n    key: \"a-${path:id}${body:/x}\"\n"
      "    outcomes: {completed: [2xx, 404]}\n    ignore: [form:a, 'body:/a/*']\n";
  const std::string_view alphabet = "{}[]:,-*&?|>'\"#%@!$~ \n\t/\\0aZ9\x01\xff";
  std::mt19937 random(7);
  for (int round = 0; round < 4000; ++round) {
    std::string text = seed;
    for (auto edits = 1 + random() % 4; edits > 0; --edits) {
      const auto at = random() % text.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 3) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        default:
          text.erase(at, 1 + random() % 3);
      }
    }
    for (const auto& one : errors(text)) CHECK_FALSE(one.message.empty());
  }
}
