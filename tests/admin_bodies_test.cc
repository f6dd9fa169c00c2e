// What the admin endpoint takes: strict, with a sentence for each mistake.
#include <doctest/doctest.h>

#include "admin/bodies.h"

using namespace ledger;

namespace {

const Instant now{std::chrono::milliseconds(1'700'000'000'000)};

bool refuses(const std::string& body) { return !resolution_from(body, now).has_value(); }

std::string header(const Headers& headers, std::string_view name) {
  for (const auto& [n, value] : headers)
    if (n == name) return value;
  return "(none)";
}

}  // namespace

TEST_CASE("a verdict alone") {
  CHECK(resolution_from(R"({"verdict":"executed"})", now)->executed);
  CHECK_FALSE(resolution_from(R"({"verdict":"executed"})", now)->answer);
  CHECK_FALSE(resolution_from(R"({"verdict":"not_executed"})", now)->executed);
}

TEST_CASE("a verdict with the answer that repeats shall get") {
  const auto given = resolution_from(
      R"({"verdict":"executed","response":{"status":201,"headers":{"X-A":"1"},"body":{"id":7}}})",
      now);
  REQUIRE(given.has_value());
  const auto& answer = *given->answer;
  CHECK(answer.status == 201);
  CHECK(answer.reason == "Created");
  CHECK(answer.body == R"({"id":7})");
  CHECK(answer.body_stored);
  CHECK(answer.received_at == now);
  CHECK(header(answer.headers, "Content-Type") == "application/json");
  CHECK(header(answer.headers, "X-A") == "1");
}

TEST_CASE("a text body stays as it is, and gets no type that nobody said") {
  const auto given = resolution_from(R"({"verdict":"executed","response":{"body":"hi"}})", now);
  REQUIRE(given.has_value());
  CHECK(given->answer->status == 200);
  CHECK(given->answer->body == "hi");
  CHECK(given->answer->headers.empty());
}

TEST_CASE("headers that frame a message are the proxy's to say") {
  const auto given = resolution_from(
      R"({"verdict":"executed","response":{"headers":
         [["Transfer-Encoding","chunked"],["content-length","9"],["Connection","close"],["A","b"],["A","c"]]}})",
      now);
  REQUIRE(given.has_value());
  CHECK(given->answer->headers == Headers{{"A", "b"}, {"A", "c"}});
}

TEST_CASE("mistakes in a resolution are refused, never guessed at") {
  CHECK(refuses(""));
  CHECK(refuses("[]"));
  CHECK(refuses("{}"));
  CHECK(refuses(R"({"verdict":"yes"})"));
  CHECK(refuses(R"({"verdict":true})"));
  CHECK(refuses(R"({"verdict":"executed","respnse":{"status":200}})"));
  CHECK(refuses(R"({"verdict":"not_executed","response":{"status":200}})"));
  for (const auto* response :
       {R"(5)", R"({"status":"200"})", R"({"status":199})", R"({"status":600})",
        R"({"status":200.5})", R"({"headers":5})", R"({"headers":{"a":1}})",
        R"({"headers":[["a"]]})", R"({"headers":["ab"]})", R"({"headers":{"a b":"c"}})",
        R"({"headers":{"a":"b\r\nSet-Cookie: x"}})", R"({"status":204,"body":"x"})",
        R"({"text":"x"})"}) {
    CAPTURE(response);
    CHECK(refuses(R"({"verdict":"executed","response":)" + std::string(response) + "}"));
  }
}

TEST_CASE("a body that is nested without end is refused before anything recurses") {
  const std::string deep(200'000, '[');
  const auto given = resolution_from(R"({"verdict":"executed","response":{"body":)" + deep, now);
  REQUIRE_FALSE(given.has_value());
  CHECK(given.error().find("nested") != std::string::npos);
  CHECK_FALSE(explain_request_from(deep).has_value());
}

TEST_CASE("a call to explain") {
  const auto call = explain_request_from(
      R"({"url":"/stripe/v1/charges","headers":{"Ledger-Agent":"bot","ledger-run":"7","A":"b"},"body":[1]})");
  REQUIRE(call.has_value());
  CHECK(call->method == "POST");
  CHECK(call->url == "/stripe/v1/charges");
  CHECK(call->agent == "bot");
  CHECK(call->run == "7");
  CHECK(call->headers == Headers{{"A", "b"}, {"Content-Type", "application/json"}});
  CHECK(call->body == "[1]");
  CHECK(explain_request_from(R"({"url":"http://a/","body":"x=1"})")->headers.empty());
  CHECK(explain_request_from(R"({"url":"http://a/","body":"x=1"})")->body == "x=1");

  for (const auto* bad :
       {"", "[]", "{}", R"({"url":5})", R"({"url":"http://a/","method":1})",
        R"({"url":"http://a/","headers":{"a":1}})", R"({"url":"http://a/","header":{}})"}) {
    CAPTURE(bad);
    CHECK_FALSE(explain_request_from(bad).has_value());
  }
}
