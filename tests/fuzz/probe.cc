// What an upstream answers to a probe: a line with the pointer to look at, one with the answer to
// make of it, one with the status, and the body.
#include "proxy/probe.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

void check(std::string_view text) {
  ProbeRule rule;
  rule.executed_if = take_line(text);
  rule.answer = take_line(text);
  const auto line = take_line(text);
  int status = 200;
  std::from_chars(line.data(), line.data() + line.size(), status);
  const std::string body(text);
  const auto probed = read_probe(rule, status, body, Instant{});
  CHECK_FALSE(probed.detail.empty());
  CHECK((probed.answer == nullptr || probed.result == Probed::Result::happened));
  if (probed.result != Probed::Result::happened) return;
  // Only a good answer that is JSON can say that a call happened.
  CHECK(status / 100 == 2);
  CHECK(nlohmann::json::accept(body));
  // The same question has the same answer.
  const auto again = read_probe(rule, status, body, Instant{});
  CHECK(again.result == probed.result);
  REQUIRE((again.answer == nullptr) == (probed.answer == nullptr));
  if (probed.answer != nullptr) CHECK(again.answer->body == probed.answer->body);
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
