#include "fingerprint/identity.h"
#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

const std::string uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";

Case charge() {
  return json(R"({"amount":4900,"currency":"usd"})").with("Authorization", "Bearer sk_1");
}

// The fingerprint of a charge with one more header.
std::string with(std::string name, std::string value) {
  return charge().with(std::move(name), std::move(value)).fingerprint();
}

Case at(std::string url) {
  Case c;
  c.url = std::move(url);
  return c;
}

std::string error_of(const Case& c) {
  const auto made = c.try_identify();
  return made ? "" : made.error().slug + ": " + made.error().detail;
}

}  // namespace

TEST_CASE("method, scheme, host, port and path are identity") {
  const auto expected = at("https://h.example/a").fingerprint();
  CHECK(at("HTTPS://H.example:443/%61#x").fingerprint() == expected);
  CHECK(at("https://h.example./b/.././a").fingerprint() == expected);
  for (const auto* url : {"http://h.example/a", "https://i.example/a", "https://h.example:444/a",
                          "https://h.example/A", "https://h.example/a/", "https://h.example/a%2F"})
    CHECK(at(url).fingerprint() != expected);
  CHECK(at("https://h.example./a").fingerprint() == expected);  // the root's dot
  for (const auto* none : {"http://./", "http://h../", "http://.."}) CHECK_FALSE(parse_url(none));
  auto other = at("https://h.example/a");
  other.method = "PUT";
  CHECK(other.fingerprint() != expected);
  other.method = "post";
  CHECK(other.fingerprint() != expected);
}

TEST_CASE("the query is sorted by name, in order among equal names") {
  CHECK(at("http://h/?b=1&a=x+y&b=2").fingerprint() ==
        at("http://h/?a=x%20y&&b=%31&b=2").fingerprint());
  CHECK(at("http://h/?b=1&b=2").fingerprint() != at("http://h/?b=2&b=1").fingerprint());
  CHECK(at("http://h/?").fingerprint() == at("http://h/").fingerprint());
  CHECK(at("http://h/?a").fingerprint() != at("http://h/").fingerprint());
  CHECK(at("http://h/?n=1&a=2").ignore("query:n").fingerprint() ==
        at("http://h/?a=2&n=3").ignore("query:n").fingerprint());
}

TEST_CASE("headers that choose the operation or the account are identity, no other is") {
  const auto expected = charge().fingerprint();
  for (const auto* name :
       {"X-Amz-Target", "SOAPAction", "X-HTTP-Method-Override", "Stripe-Account", "Stripe-Context",
        "OpenAI-Organization", "OpenAI-Project", "X-Tenant-Id", "x-account-id"}) {
    CAPTURE(name);
    CHECK(with(name, "v") != expected);
    CHECK(with(name, "v") != with(name, "w"));
    CHECK(with(name, "") != expected);
  }
  for (const auto* name : {"User-Agent", "Date", "X-Request-Id", "Accept", "Traceparent", "Via",
                           "Content-Length", "Idempotency-Key", "X-Stainless-Retry-Count", "Cookie",
                           "Proxy-Authorization", "Ledger-Occurrence"})
    CHECK(with(name, "1") == expected);
}

TEST_CASE("a route may name more headers; case and order of names mean nothing") {
  const auto made = [](std::vector<std::pair<std::string, std::string>> headers) {
    auto c = charge();
    c.rules.headers = {"X-Shop"};
    for (auto& h : headers) c.with(h.first, h.second);
    return c.fingerprint();
  };
  CHECK(made({{"x-shop", "a"}, {"X-Tenant-Id", "t"}}) ==
        made({{"X-TENANT-ID", "t"}, {"X-Shop", "a"}}));
  CHECK(made({{"X-Shop", "a"}}) != made({}));
  CHECK(made({{"X-Shop", "a"}, {"x-shop", "b"}}) != made({{"X-Shop", "b"}, {"X-Shop", "a"}}));
  CHECK(with("X-Shop", "a") == charge().fingerprint());
}

TEST_CASE("the credential is identity, whichever headers carry it") {
  const auto made = [](std::vector<std::pair<std::string, std::string>> headers) {
    auto c = json("{}");
    for (auto& h : headers) c.with(h.first, h.second);
    return c.fingerprint();
  };
  const auto none = made({});
  for (const auto* name :
       {"Authorization", "X-Api-Key", "api-key", "X-Goog-Api-Key", "x-auth-token", "PRIVATE-TOKEN",
        "X-Shopify-Access-Token", "DD-API-KEY-V2"}) {
    CAPTURE(name);
    CHECK(made({{name, "a"}}) != none);
    CHECK(made({{name, "a"}}) != made({{name, "b"}}));
    CHECK(made({{name, "a"}, {"X-Api-Key", "z"}}) != made({{name, "b"}, {"X-Api-Key", "z"}}));
  }
  CHECK(made({{"Authorization", "a"}, {"X-Api-Key", "b"}}) ==
        made({{"x-api-key", "b"}, {"authorization", "a"}}));
  CHECK(made({{"X-Api-Key", "a"}, {"X-Api-Key", "b"}}) != made({{"X-Api-Key", "a"}}));
  // The whole value counts: tokens of one issuer begin alike.
  CHECK(made({{"Authorization", "Bearer " + std::string(4000, 'a') + "1"}}) !=
        made({{"Authorization", "Bearer " + std::string(4000, 'a') + "2"}}));
}

TEST_CASE("a cookie is the credential only where there is no other") {
  const auto made = [](std::string cookie, std::string authorization) {
    auto c = json("{}");
    if (!cookie.empty()) c.with("Cookie", cookie);
    if (!authorization.empty()) c.with("Authorization", authorization);
    return c.fingerprint();
  };
  CHECK(made("sid=1", "") != made("sid=2", ""));
  CHECK(made("sid=1", "") != made("", ""));
  CHECK(made("sid=1", "Bearer a") == made("sid=2", "Bearer a"));
}

TEST_CASE("a route may name more credential headers") {
  auto first = json("{}").with("X-Session", "1"), second = json("{}").with("x-session", "2");
  CHECK(first.fingerprint() == second.fingerprint());
  first.rules.credential_headers = second.rules.credential_headers = {"X-SESSION"};
  CHECK(first.fingerprint() != second.fingerprint());
}

TEST_CASE("of an AWS signature only the access key id is identity") {
  const auto signed_by = [](const std::string& key, const std::string& rest) {
    return json("{}")
        .with("Authorization", "AWS4-HMAC-SHA256 Credential=" + key + rest)
        .fingerprint();
  };
  const auto expected = signed_by("AKIA1", "/20260101/us-east-1/s3/aws4_request, Signature=aa");
  CHECK(signed_by("AKIA1", "/20260102/us-east-1/s3/aws4_request,Signature=bb") == expected);
  CHECK(signed_by("AKIA2", "/20260101/us-east-1/s3/aws4_request, Signature=aa") != expected);
}

TEST_CASE(
    "secrets of different stores make different keys, and the store never sees a credential") {
  auto first = charge(), second = charge();
  second.secret = "another";
  CHECK(first.fingerprint() != second.fingerprint());
  first.rules.scope = second.rules.scope = {ScopePart::agent};
  CHECK(first.fingerprint() == second.fingerprint());
}

TEST_CASE("the scope is what the route says, in any order") {
  const auto made = [](std::vector<ScopePart> scope, std::string token, std::string agent,
                       std::string run) {
    auto c = json("{}").with("Authorization", std::move(token));
    c.rules.scope = std::move(scope);
    c.agent = std::move(agent);
    c.run = std::move(run);
    return c.fingerprint();
  };
  using enum ScopePart;
  CHECK(made({credential}, "t", "a", "r") == made({credential}, "t", "b", "s"));
  CHECK(made({agent}, "t", "a", "r") == made({agent}, "u", "a", "s"));
  CHECK(made({agent}, "t", "a", "r") != made({agent}, "t", "b", "r"));
  CHECK(made({run}, "t", "a", "r") != made({run}, "t", "a", "s"));
  CHECK(made({}, "t", "a", "r") == made({}, "u", "b", "s"));
  CHECK(made({run, agent, agent}, "t", "a", "r") == made({agent, run}, "t", "a", "r"));
  CHECK(made({agent}, "t", "x", "") != made({run}, "t", "", "x"));
  CHECK(made({agent, run}, "t", "ab", "c") != made({agent, run}, "t", "a", "bc"));
}

TEST_CASE("Ledger-Key wins, then the route's key, then Idempotency-Key, then the fingerprint") {
  auto c = charge();
  CHECK(c.identity().source == KeySource::fingerprint);
  CHECK(c.identity().key.empty());
  c.with("Idempotency-Key", "order-1");
  CHECK(c.identity().source == KeySource::idempotency_key);
  CHECK(c.identity().key == "order-1");
  c.key("route-${body:/amount}");
  CHECK(c.identity().source == KeySource::route);
  CHECK(c.identity().key == "route-4900");
  c.with("ledger-key", "mine");
  CHECK(c.identity().source == KeySource::header);
  CHECK(c.identity().key == "mine");
  // None of them changes what the call means.
  CHECK(c.fingerprint() == charge().fingerprint());
}

TEST_CASE("Ledger-Key spares a route's key that the call lacks") {
  CHECK(charge().key("${body:/none}").with("Ledger-Key", "k").identity().key == "k");
}

TEST_CASE("an Idempotency-Key that an SDK made up is not identity") {
  for (const auto& key :
       {uuid, "\"" + uuid + "\"", "stripe-node-retry-" + uuid, "stainless-node-retry-" + uuid,
        "stainless-python-retry-" + uuid, "stripe-python-retry-" + uuid,
        std::string("8E03978E-40D5-43E8-BC93-6894A57F9324")}) {
    CAPTURE(key);
    CHECK(is_generated_key(key));
    CHECK(charge().with("Idempotency-Key", key).id() == charge().id());
  }
  for (const auto& key : {"order-" + uuid, uuid + "-1", "retry-" + uuid, "stripe-" + uuid,
                          "my-node-retry-" + uuid, std::string("stripe-node-retry-7"),
                          std::string("order-1"), uuid.substr(1), uuid.substr(0, 35) + "g",
                          std::string("8e03978e040d5043e80bc93-6894a57f9324"), std::string()}) {
    CAPTURE(key);
    CHECK_FALSE(is_generated_key(key));
    if (!key.empty()) CHECK(charge().with("Idempotency-Key", key).identity().key == key);
  }
  CHECK(charge().with("Idempotency-Key", "").id() == charge().id());
}

TEST_CASE("a route may honour every Idempotency-Key, or ignore all") {
  auto generated = charge().with("Idempotency-Key", uuid);
  generated.rules.idempotency_key = IdempotencyKeyMode::honour;
  CHECK(generated.identity().key == uuid);
  auto chosen = charge().with("Idempotency-Key", "order-1");
  chosen.rules.idempotency_key = IdempotencyKeyMode::ignore;
  CHECK(chosen.identity().source == KeySource::fingerprint);
}

TEST_CASE("a key template takes headers, JSON, forms, query and path") {
  auto c = json(R"({"metadata":{"order_id":"o-1"},"lines":[{"n":7.0}]})").with("X-Shop", "s");
  c.url += "?q=a+b&q=c";
  c.captures = {{"sid", "AC 1"}};
  c.key("k-${header:x-shop}/${body:/metadata/order_id}/${body:/lines/0/n}/${query:q}/${path:sid}");
  CHECK(c.identity().key == "k-s/o-1/7/a b/AC 1");
  CHECK(form("metadata[id]=x+y").key("${form:metadata[id]}").identity().key == "x y");
}

TEST_CASE("numbers in a key are those of the fingerprint") {
  CHECK(json("{\"n\":0.30000000000000004}").key("${body:/n}").identity().key == "0.3");
  auto exact = json("{\"n\":0.30000000000000004}").key("${body:/n}");
  exact.rules.exact_floats = true;
  CHECK(exact.identity().key == "0.30000000000000004");
}

TEST_CASE("a part of the key that the call lacks is an error that names it") {
  for (const auto* part : {"header:X-Shop", "body:/a/b", "form:f", "query:q", "path:p"}) {
    const auto error = error_of(charge().key("k-${" + std::string(part) + "}"));
    CAPTURE(error);
    CHECK(error.starts_with("key-missing: "));
    CHECK(error.find("`" + std::string(part) + "`") != error.npos);
  }
  CHECK(error_of(json(R"({"a":""})").key("${body:/a}")).starts_with("key-missing"));
  CHECK(error_of(json(R"({"a":null})").key("${body:/a}")).starts_with("key-missing"));
  CHECK(error_of(json(R"({"a":{}})").key("${body:/a}")).starts_with("key-missing"));
  CHECK(error_of(json("not JSON").key("${body:/a}")).starts_with("key-missing"));
  CHECK(error_of(charge().with("Ledger-Key", "")).starts_with("bad-request"));
  CHECK(error_of(charge().with("Ledger-Key", "a").with("ledger-key", "b"))
            .starts_with("bad-request"));
  CHECK(charge().with("Ledger-Key", "a").with("Ledger-Key", "a").identity().key == "a");
}

TEST_CASE("an explicit key lives within its route and scope") {
  const auto made = [](std::string route, std::string url, std::string token) {
    auto c = json("{}").with("Ledger-Key", "k").with("Authorization", std::move(token));
    c.route = std::move(route);
    c.url = std::move(url);
    return c.id();
  };
  const std::string url = "https://h/a";
  CHECK(made("r", url, "t") == made("r", "https://h/b?q=1", "t"));
  CHECK(made("r", url, "t") != made("s", url, "t"));
  CHECK(made("r", url, "t") != made("r", url, "u"));
  CHECK(made("", url, "t") == made("", url + "?q=1", "t"));
  CHECK(made("", url, "t") != made("", "https://h/b", "t"));
  CHECK(made("", url, "t") != made("r", url, "t"));
  // The same key given another way is the same effect.
  auto header = charge().with("Ledger-Key", "k"), client = charge().with("Idempotency-Key", "k");
  CHECK(header.id() == client.id());
  // Another body under the same key: the record is found, its fingerprint differs.
  auto other = json("[]").with("Ledger-Key", "k");
  auto same = json("{}").with("Ledger-Key", "k");
  CHECK(other.id() == same.id());
  CHECK(other.fingerprint() != same.fingerprint());
}

TEST_CASE("without a key, the route's name is not identity") {
  auto named = charge();
  named.route = "charge_card";
  CHECK(named.id() == charge().id());
}

TEST_CASE("an occurrence makes another record of the same call, for both kinds of key") {
  for (const bool explicit_key : {false, true}) {
    const auto made = [&](std::string occurrence) {
      auto c = charge();
      if (explicit_key) c.with("Ledger-Key", "k");
      if (!occurrence.empty()) c.with("Ledger-Occurrence", std::move(occurrence));
      return c;
    };
    CHECK(made("1").id() == made("").id());
    CHECK(made("2").id() != made("1").id());
    CHECK(made("3").id() != made("2").id());
    CHECK(made("1000000").id() != made("1").id());
    CHECK(made("2").fingerprint() == made("").fingerprint());
  }
  for (const auto* bad : {"0", "-1", "+1", "1.0", "two", "1000001", "99999999999", "1 2", "0x1"})
    CHECK(error_of(charge().with("Ledger-Occurrence", bad)).starts_with("bad-request"));
  CHECK(error_of(charge().with("Ledger-Occurrence", "")).starts_with("bad-request"));
  CHECK(error_of(charge().with("Ledger-Occurrence", "2").with("ledger-occurrence", "3"))
            .starts_with("bad-request"));
  CHECK(charge().with("Ledger-Occurrence", "2").with("Ledger-Occurrence", "2").id() ==
        charge().with("Ledger-Occurrence", "2").id());
}

TEST_CASE("sources of keys have names that go both ways") {
  for (const auto source :
       {KeySource::fingerprint, KeySource::route, KeySource::header, KeySource::idempotency_key})
    CHECK(key_source_from(to_string(source)) == source);
  CHECK(to_string(KeySource::idempotency_key) == "idempotency-key");
  CHECK_FALSE(key_source_from("other"));
}

TEST_CASE("a rule or template that means nothing is refused") {
  for (const auto* text : {"", "a", "body", "body:", "body:a", "body:/a~2", "body:/~",
                           "form:", "query:", "header:X", "Body:/a"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_ignore(text));
  }
  for (const auto* text : {"", "fixed", "${", "${body:/a", "${}", "${body}", "${body:}",
                           "${body:a}", "${cookie:c}", "${header:}", "a${form:x}${"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_key_template(text));
  }
  CHECK(parse_key_template("$5-${form:a}}")->parts.size() == 3);
}

TEST_CASE("JSON-RPC that is MCP's own is unguarded, and every other method is a call") {
  const auto unguarded = [](std::string body) { return json(std::move(body)).unguarded_rpc(); };
  const std::string call = R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}})";
  const std::string list = R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})";
  CHECK(unguarded(list));
  CHECK(unguarded(R"({"jsonrpc":"2.0","method":"notifications/initialized"})"));
  CHECK(unguarded(R"({"jsonrpc":"2.0","id":7,"result":{"method":"tools/call"}})"));
  CHECK(unguarded("[" + list + "," + list + "]"));
  CHECK_FALSE(unguarded(call));
  CHECK_FALSE(unguarded("[" + list + "," + call + "]"));
  CHECK_FALSE(unguarded("[" + list + ",{}]"));
  CHECK_FALSE(unguarded("[]"));
  CHECK_FALSE(unguarded(R"({"method":"tools/list"})"));
  CHECK_FALSE(unguarded(R"({"jsonrpc":"1.0","method":"tools/list"})"));
  CHECK_FALSE(unguarded(R"({"jsonrpc":2.0,"method":"tools/list"})"));
  CHECK_FALSE(unguarded(R"({"params":{"jsonrpc":"2.0"}})"));
  for (const auto* other :
       {R"({"jsonrpc":"2.0"})", R"({"jsonrpc":"2.0","amount":5})",
        R"({"jsonrpc":"2.0","id":1,"method":"charge"})",
        R"({"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x"]})",
        R"({"jsonrpc":"2.0","id":1,"method":"message/send","params":{}})",
        R"({"jsonrpc":"2.0","id":1,"method":"tools/list","amount":5})",
        R"({"jsonrpc":"2.0","id":1,"method":"tools/list","params":[5]})",
        R"({"jsonrpc":"2.0","id":1,"result":{},"amount":5})", R"({"jsonrpc":"2.0","result":{}})",
        R"({"jsonrpc":"2.0","id":1,"result":{},"error":{}})",
        R"([{"jsonrpc":"2.0","id":1,"method":"charge"}])"})
    CHECK_FALSE_MESSAGE(unguarded(other), other);
  CHECK_FALSE(unguarded("\"jsonrpc\""));
  CHECK_FALSE(unguarded("{\"jsonrpc\":\"2.0\""));
  // Not by its media type, and in gzip.
  auto untyped = json(list);
  untyped.headers.clear();
  CHECK_FALSE(untyped.unguarded_rpc());
  CHECK(json(deflated(list, 31)).with("Content-Encoding", "gzip").unguarded_rpc());
}

TEST_CASE("a long batch of JSON-RPC is judged in good time") {
  std::string batch = "[";
  for (int i = 0; i < 40'000; ++i) batch += R"({"jsonrpc":"2.0","method":"ping","id":1},)";
  batch.back() = ']';
  CHECK(json(batch).unguarded_rpc());
}

}  // namespace ledger::test
