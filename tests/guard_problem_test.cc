#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "guard/problem.h"

using namespace ledger;

TEST_CASE("a problem carries RFC 9457's members and the fields that SDKs show, in the same words") {
  const auto j =
      nlohmann::json::parse(problem_json(problem::in_doubt("connection reset"), "ab", "charge"));
  CHECK(j["type"] == "urn:ledger:in-doubt");
  CHECK(j["status"] == 409);
  CHECK(j["state"] == "in_doubt");
  CHECK(j["record"] == "ab");
  CHECK(j["advice"] == "ask_a_person");
  CHECK(j["route"] == "charge");
  CHECK(j["safe_to_retry"] == false);
  CHECK(j["message"] == j["detail"]);
  CHECK(j["error"]["message"] == j["detail"]);
  CHECK(j["error"]["type"] == "in-doubt");
  CHECK(j["detail"].get<std::string>().find("connection reset") != std::string::npos);
}

TEST_CASE("a problem is valid JSON whatever bytes its cause holds") {
  const auto text = problem_json(problem::upstream_unreachable("\xff\"\n\x01"), "", "");
  CHECK(nlohmann::json::accept(text));
  CHECK_FALSE(nlohmann::json::parse(text).contains("record"));
}

// An agent that settles a doubt on a guess doubles the effect.
TEST_CASE("a doubt is reported to a person, and no detail tells an agent to settle one") {
  const auto all = {problem::bad_request("x"),
                    problem::key_missing("x"),
                    problem::key_reused(State::completed),
                    problem::key_is_record(),
                    problem::duplicate_blocked(),
                    problem::in_flight(),
                    problem::in_doubt("x"),
                    problem::answer_not_stored("x"),
                    problem::rejection_not_stored(402),
                    problem::body_too_large(1),
                    problem::header_too_large(1),
                    problem::request_timeout(),
                    problem::not_mounted("x"),
                    problem::proxy_auth_required(),
                    problem::token_required(),
                    problem::not_implemented("x"),
                    problem::store_unavailable("x"),
                    problem::draining(),
                    problem::too_busy(),
                    problem::memory_full(),
                    problem::many_bodies(),
                    problem::loop_detected(),
                    problem::upstream_unreachable("x"),
                    problem::outcome_unknown("x", true),
                    problem::upstream_failed("x", false),
                    problem::tunnel_not_opened("x")};
  for (const auto& p : all) {
    const auto j = nlohmann::json::parse(problem_json(p, "ab12", "r"));
    const auto detail = j["detail"].get<std::string>(), advice = j["advice"].get<std::string>();
    CAPTURE(detail);
    for (const auto* word : {"resolve", "settle", "ledger "})
      CHECK(detail.find(word) == std::string::npos);
    CHECK((advice == "retry" || advice == "wait" || advice == "stop" || advice == "fix" ||
           advice == "ask_a_person"));
    // What is safe to retry is retried or waited for; nothing else is.
    CHECK(p.safe_to_retry == (advice == "retry" || advice == "wait"));
    CHECK((advice == "ask_a_person") ==
          (detail.find("report record ab12 to a person") != std::string::npos));
    if (p.state == State::in_doubt) CHECK(advice == "ask_a_person");
  }
}

TEST_CASE("only what was surely not sent is safe to retry") {
  CHECK(problem::upstream_unreachable("x").safe_to_retry);
  CHECK(problem::in_flight().safe_to_retry);
  CHECK_FALSE(problem::outcome_unknown("x", true).safe_to_retry);
  CHECK_FALSE(problem::in_doubt("x").safe_to_retry);
  CHECK_FALSE(problem::answer_not_stored("x").safe_to_retry);
  CHECK(problem::outcome_unknown("x", true).status == 504);
  CHECK(problem::outcome_unknown("x", false).status == 502);
}
