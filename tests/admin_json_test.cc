// Records and statistics as JSON: the shapes that people build on.
#include <doctest/doctest.h>

#include "admin/json.h"
#include "tests/store_support.h"

using namespace ledger;
using namespace ledger::test;

namespace {

Record record() {
  auto r = *claim(id_of(1), Instant(milliseconds(1'700'000'000'123))).next;
  r.id = id_of(1);
  r.version = 4;
  r.counts = {5, 1, 3, 1, 1, 9};
  r.state = State::completed;
  r.expires_at = r.created_at + std::chrono::hours(24);
  r.answer = answer_of("0123456789", r.created_at);
  return r;
}

std::vector<std::string> names(const Json& j) {
  std::vector<std::string> out;
  for (const auto& [name, value] : j.items()) out.push_back(name);
  return out;
}

}  // namespace

TEST_CASE("times are RFC 3339 in UTC with milliseconds") {
  CHECK(to_rfc3339(Instant(milliseconds(1'700'000'000'123))) == "2023-11-14T22:13:20.123Z");
  CHECK(to_rfc3339(Instant(milliseconds(0))) == "1970-01-01T00:00:00.000Z");
  CHECK(to_rfc3339(Instant(milliseconds(-1))) == "1969-12-31T23:59:59.999Z");
}

TEST_CASE("a record has the contract's fields, in its order") {
  const auto j = record_json(record(), false);
  CHECK(names(j) == std::vector<std::string>{"id",          "label",      "key",        "route",
                                             "method",      "url",        "state",      "version",
                                             "attempts",    "executed",   "unsent",     "replayed",
                                             "joined",      "blocked",    "agent",      "run",
                                             "created_at",  "updated_at", "expires_at", "status",
                                             "fingerprint", "key_source"});
  CHECK(j["id"] == to_hex(id_of(1)));
  CHECK(j["state"] == "completed");
  CHECK(j["blocked"] == 3);
  CHECK(j["label"] == "order 7 of Zo\u00eb");
  CHECK(j["key"] == "order-7");
  CHECK(j["status"] == 200);
  CHECK(j["expires_at"] == "2023-11-15T22:13:20.123Z");
  CHECK(j["key_source"] == "fingerprint");
}

TEST_CASE("what is not there is null") {
  auto r = record();
  r.route = r.agent = r.run = r.label = r.key_text = "";
  r.expires_at.reset();
  r.answer = nullptr;
  const auto j = record_json(r, true);
  for (const auto* name :
       {"label", "key", "route", "agent", "run", "expires_at", "status", "answer"})
    CHECK_MESSAGE(j[name].is_null(), name);
}

TEST_CASE("a whole record shows its answer without secrets, and its history") {
  auto r = record();
  auto answer = *r.answer;
  answer.headers = {{"Content-Type", "application/json"},
                    {"set-cookie", "session=1"},
                    {"X-Api-Key", "k"},
                    {"X-Auth-Token", "t"},
                    {"x-ratelimit-remaining-tokens", "9"}};
  r.answer = std::make_shared<const Answer>(answer);
  const auto j = record_json(r, true);
  CHECK(j["answer"]["status"] == 200);
  CHECK(j["answer"]["reason"] == "OK");
  CHECK(j["answer"]["body_bytes"] == 10);
  CHECK(j["answer"]["body_stored"] == true);
  const auto& headers = j["answer"]["headers"];
  CHECK(headers[0] == Json::array({"Content-Type", "application/json"}));
  CHECK(headers[1] == Json::array({"set-cookie", "(not shown)"}));
  CHECK(headers[2][1] == "(not shown)");
  CHECK(headers[3][1] == "(not shown)");
  CHECK(headers[4][1] == "9");
  CHECK(j["history"] ==
        Json::parse(R"([{"at":"2023-11-14T22:13:20.123Z","event":"claimed","detail":""}])"));
}

TEST_CASE("no header of an answer shows a credential, a challenge or a link's token") {
  auto r = record();
  auto answer = *r.answer;
  answer.headers = {{"WWW-Authenticate", "NTLM TlRMTVNTUAAC"},
                    {"Authentication-Info", "nextnonce=abc"},
                    {"X-Amz-Credential", "c"},
                    {"csrftoken", "t"},
                    {"Location", "https://files.test/a?token=t0p#access_token=x"},
                    {"content-location", "https://ann:pw@files.test/a"},
                    {"Refresh", "0; url=https://ann:pw@files.test/a"},
                    {"Link", "<https://files.test/b?page=2&token=t0p>; rel=next"},
                    {"Location", "https://files.test/@ann/a"}};
  r.answer = std::make_shared<const Answer>(answer);
  const auto headers = record_json(r, true)["answer"]["headers"];
  for (const auto i : {0, 1, 2, 3, 5, 6}) CHECK(headers[i][1] == "(not shown)");
  CHECK(headers[4][1] == "https://files.test/a?(not shown)");
  CHECK(headers[7][1] == "<https://files.test/b?(not shown)");
  CHECK(headers[8][1] == "https://files.test/@ann/a");
}

TEST_CASE("bytes that are not UTF-8 are replaced, not thrown at") {
  auto r = record();
  r.url = "https://a/\xff";
  CHECK(dump(record_json(r, true)).find("https://a/\xef\xbf\xbd") != std::string::npos);
}

TEST_CASE("statistics: routes, and totals that add up") {
  RouteStats a, b;
  a.route = "charge_card";
  a.counts = {10, 3, 5, 1, 1, 2};
  a.in_doubt = 1;
  a.records = 4;
  b.counts = {5, 5, 0, 0};
  b.records = 5;
  const auto j = stats_json({a, b});
  CHECK(j["totals"]["attempts"] == 15);
  CHECK(j["totals"]["executed"] == 8);
  CHECK(j["totals"]["unsent"] == 1);
  CHECK(j["totals"]["mismatched"] == 2);
  CHECK(j["totals"]["blocked"] == 6);
  CHECK(j["totals"]["in_doubt"] == 1);
  CHECK(j["totals"]["records"] == 9);
  CHECK(j["totals"]["duplicate_rate"] == 0.4);
  CHECK(names(j["routes"][0]) ==
        std::vector<std::string>{"route", "attempts", "executed", "unsent", "blocked", "replayed",
                                 "joined", "mismatched", "in_doubt", "duplicate_rate"});
  CHECK(j["routes"][0]["duplicate_rate"] == 0.6);
  CHECK(j["routes"][1]["route"].is_null());
  CHECK(stats_json({})["totals"]["duplicate_rate"] == 0);
}
