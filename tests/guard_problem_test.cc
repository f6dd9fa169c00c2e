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
  CHECK(j["key"] == "ab");
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
  CHECK_FALSE(nlohmann::json::parse(text).contains("key"));
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
