// explain: what would become of a call, told without sending or writing.
#include <doctest/doctest.h>

#include "admin/explain.h"
#include "guard/decide.h"
#include "tests/admin_support.h"

using namespace ledger;
using namespace ledger::test;

namespace {

const auto* const yaml = R"(
mounts:
  /stripe: { upstream: "https://api.stripe.com", upstream_key: Idempotency-Key }
routes:
  - { name: charge_card, match: "POST https://api.stripe.com/v1/charges" }
  - { name: twice, match: "POST https://a.example/twice", on_duplicate: block }
  - { name: small, match: "POST https://a.example/small", body_max: 4 }
  - { name: refuse, match: "POST https://a.example/refuse", on_in_flight: refuse }
  - { name: keyed, match: "POST https://a.example/keyed", key: "o-${body:/id}" }
  - { name: square, match: "POST https://a.example/square", upstream_key: "body:/idempotency_key" }
  - { name: told, match: "POST https://a.example/told", label: "to ${body:/to}" }
  - { name: llm, match: "POST https://a.example/llm", policy: pass }
)";

struct World {
  Config config = admin_config(yaml);
  std::unique_ptr<Store> store = std::move(*open_store("memory:", true, true));

  Json ask(const ExplainRequest& call) const {
    const auto told = explain(config, *store, call);
    REQUIRE_MESSAGE(told.has_value(), told.error());
    return *told;
  }
  Json ask(const std::string& url, const std::string& body = "{}", Headers headers = {}) const {
    headers.emplace_back("Content-Type", "application/json");
    return ask({"POST", url, std::move(headers), body, "", ""});
  }
  // Without a look into the store.
  Json outside(const std::string& url) const {
    return *explain(config, *store, {"POST", url, {}, "{}", "", ""}, nullptr, false);
  }
  std::string would(const std::string& url) const { return ask(url)["would"]; }

  // The record that the call's key holds.
  void hold(const std::string& url, State state, AnswerPtr answer,
            const std::string& owner = "nobody") {
    const auto told = ask(url);
    auto write = claim(*from_hex(told["key"].get<std::string>()), store->now(), owner);
    write.next->fingerprint = *from_hex(told["fingerprint"].get<std::string>());
    write.next->state = state;
    write.next->effects = state == State::in_flight ? 0 : 1;
    write.next->answer = std::move(answer);
    swapped(test::replace_now(*store, write));
  }
};

}  // namespace

TEST_CASE("explain says what people will see of the call, and no state without the store") {
  World world;
  CHECK(world.ask("https://a.example/told", R"({"to":"ann"})")["label"] == "to ann");
  CHECK(world.ask("https://a.example/told")["label"] == "to -");
  CHECK(world.ask("https://a.example/keyed", R"({"id":"7"})")["label"].is_null());
  for (const auto* url : {"https://a.example/told", "https://a.example/llm"}) {
    CHECK(world.ask(url).contains("would"));
    CHECK_FALSE(world.outside(url).contains("would"));
  }
}

TEST_CASE("a record's id given back as a key would be refused") {
  World world;
  const auto* const url = "https://a.example/twice";
  const auto id = world.ask(url)["key"].get<std::string>();
  CHECK(world.ask(url, "{}", {{"Ledger-Key", id}})["would"] == "execute");
  auto write = claim(*from_hex(id), world.store->now());
  const std::vector<HeaderView> none;
  const auto at = parse_url(url);
  write.next->scope =
      identify({"POST", &*at, none, "", "", ""}, {}, "", {}, world.store->secret())->scope;
  swapped(test::replace_now(*world.store, write));
  CHECK(world.ask(url, "{}", {{"Ledger-Key", id}})["would"] == "bad-request");
}

TEST_CASE("a call that nobody made would be executed") {
  World world;
  const auto told = world.ask("https://api.stripe.com/v1/charges", R"({"b":1,"a":49.0})");
  CHECK(told["route"] == "charge_card");
  CHECK(told["policy"] == "once");
  CHECK(told["body_kind"] == "json");
  CHECK(told["canonical"] == R"({"a":49e0,"b":1e0})");
  CHECK(told["key_source"] == "fingerprint");
  CHECK(told["key"].get<std::string>().size() == 64);
  CHECK(told["would"] == "execute");
  CHECK(world.store->scan({})->records.empty());
}

TEST_CASE("a path goes through its mount, and is the same call") {
  World world;
  const auto mounted = world.ask("/stripe/v1/charges");
  CHECK(mounted["url"] == "https://api.stripe.com/v1/charges");
  CHECK(mounted["key"] == world.ask("https://api.stripe.com/v1/charges")["key"]);
}

TEST_CASE("the caller's own keys are told apart") {
  World world;
  CHECK(world.ask("https://a.example/x", "{}", {{"Ledger-Key", "k"}})["key_source"] == "header");
  CHECK(world.ask("https://a.example/x", "{}", {{"Idempotency-Key", "order-1"}})["key_source"] ==
        "idempotency-key");
  CHECK(world.ask("https://a.example/keyed", R"({"id":7})")["key_source"] == "route");
}

TEST_CASE("what is not guarded passes") {
  World world;
  const auto told = world.ask("https://a.example/llm");
  CHECK(told["policy"] == "pass");
  CHECK(told["would"] == "pass");
  CHECK(told["key"].is_null());
  CHECK(world.ask({"GET", "https://a.example/", {}, "", "", ""})["route"].is_null());
}

TEST_CASE("what a repeat would get, by what the record holds") {
  World world;
  world.hold("https://a.example/done", State::completed, answer_of("x"));
  CHECK(world.would("https://a.example/done") == "replay");
  world.hold("https://a.example/settled", State::completed, nullptr);
  CHECK(world.would("https://a.example/settled") == "answer-not-stored");
  world.hold("https://a.example/twice", State::completed, answer_of("x"));
  CHECK(world.would("https://a.example/twice") == "duplicate-blocked");
  world.hold("https://a.example/released", State::released, nullptr);
  CHECK(world.would("https://a.example/released") == "execute");
  world.hold("https://a.example/doubt", State::in_doubt, nullptr);
  CHECK(world.would("https://a.example/doubt") == "in-doubt");
  world.hold("https://a.example/recorded", State::in_doubt, answer_of("x"));
  CHECK(world.would("https://a.example/recorded") == "in-doubt");
}

TEST_CASE("what runs is waited for; what runs no more is in doubt") {
  World world;
  const auto alive = *world.store->join_instance();
  world.hold("https://a.example/runs", State::in_flight, nullptr, alive);
  CHECK(world.would("https://a.example/runs") == "wait");
  world.hold("https://a.example/refuse", State::in_flight, nullptr, alive);
  CHECK(world.would("https://a.example/refuse") == "in-flight");
  world.hold("https://a.example/lost", State::in_flight, nullptr);
  CHECK(world.would("https://a.example/lost") == "in-doubt");
}

TEST_CASE("a key that names another call is a mismatch") {
  World world;
  auto told = world.ask("https://a.example/x", "{}", {{"Ledger-Key", "k"}});
  auto write = claim(*from_hex(told["key"].get<std::string>()), world.store->now());
  write.next->state = State::completed;
  write.next->effects = 1;
  swapped(test::replace_now(*world.store, write));
  CHECK(world.ask("https://a.example/x", "{}", {{"Ledger-Key", "k"}})["would"] == "key-reused");
}

TEST_CASE("a body that the route does not take would be refused") {
  World world;
  CHECK(world.ask("https://a.example/small", R"({"a":1})")["would"] == "body-too-large");
}

TEST_CASE("a body without a place for the upstream key would be refused") {
  World world;
  CHECK(world.ask("https://a.example/square", R"({"a":1})")["would"] == "execute");
  CHECK(world.ask("https://a.example/square", "[1]")["would"] == "key-missing");
}

TEST_CASE("a call whose tunnel would be blind is not said to be guarded") {
  World world;
  const auto blind = world.ask("https://elsewhere.example/charges");
  CHECK(blind["tunnel"] == "blind");
  CHECK(blind["policy"] == "pass");
  CHECK(blind["would"] == "blind");
  CHECK(world.ask("https://a.example/unnamed")["tunnel"] == "opened");
  CHECK(world.ask("https://a.example/unnamed")["would"] == "execute");
  CHECK(world.ask("http://elsewhere.example/charges")["tunnel"].is_null());
  CHECK(world.ask("http://elsewhere.example/charges")["would"] == "execute");
  CHECK(world.ask("/stripe/v1/charges")["tunnel"].is_null());
  world.config.https.strict = true;
  CHECK(world.ask("https://elsewhere.example/charges")["would"] == "tunnel-not-opened");
  world.config.https = {HttpsRules::Open::all, {}, {}, false};
  CHECK(world.ask("https://elsewhere.example/charges")["tunnel"] == "opened");
  CHECK(world.ask("https://elsewhere.example/charges")["would"] == "pass");
}

TEST_CASE("a body without a Content-Type is taken for what a client would say of it") {
  World world;
  const auto asked = [&](const std::string& body, Headers headers = {}) {
    return world.ask({"POST", "https://a.example/x", std::move(headers), body, "", ""});
  };
  CHECK(asked("a=1")["assumed"] == "Content-Type: application/x-www-form-urlencoded");
  CHECK(asked("a=1")["body_kind"] == "form");
  CHECK(asked(" {}")["assumed"] == "Content-Type: application/json");
  CHECK(asked("{")["body_kind"] == "form");
  CHECK(asked("5")["body_kind"] == "form");
  CHECK(asked("a=1", {{"content-type", "text/plain"}})["assumed"].is_null());
  CHECK(asked("a=1", {{"Content-Type", ""}})["body_kind"] == "raw");
  CHECK(asked("a=1", {{"Content-Type", ""}})["assumed"].is_null());
  CHECK(asked("")["assumed"].is_null());
  CHECK(asked(std::string(200'000, '['))["body_kind"] == "form");
}

TEST_CASE("mistakes get a sentence") {
  World world;
  const auto error = [&](const ExplainRequest& call) {
    const auto told = explain(world.config, *world.store, call);
    return told ? std::string() : told.error();
  };
  CHECK(error({"POST", "/nowhere", {}, "", "", ""}).find("No mount") == 0);
  CHECK(error({"POST", "ftp://a/", {}, "", "", ""}).find("ftp://a/") != std::string::npos);
  CHECK(error({"PO ST", "https://a/", {}, "", "", ""}).find("not a method") != std::string::npos);
  CHECK_FALSE(error({"POST", "https://a.example/keyed", {}, "", "", ""}).empty());
}
