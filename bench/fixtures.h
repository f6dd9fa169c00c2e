// What the micro-benchmarks and the driver of the cost guard work on: fixed calls and records.
#pragma once

#include <string>
#include <vector>

#include "fingerprint/identity.h"
#include "guard/decide.h"

namespace ledger::bench {

// 200 bytes of JSON with the kinds of value there are; its mark is its own.
inline std::string json_body(std::uint64_t mark) {
  std::string text =
      R"({"amount":4900,"currency":"usd","customer":{"name":"A. Buyer","id":"cus_42"},"items":[1,2.5,true,null],"mark":")" +
      std::to_string(mark) + R"(","note":")";
  return text + std::string(200 - text.size() - 2, 'n') + R"("})";
}

// A call as an SDK makes it. Views itself: it stays where it was made.
struct FixedCall {
  explicit FixedCall(std::uint64_t mark) : body(json_body(mark)) { call.body = body; }
  FixedCall(const FixedCall&) = delete;
  FixedCall& operator=(const FixedCall&) = delete;

  const std::string body;
  const Url url = *parse_url("https://api.example.com/v1/charges");
  const std::vector<HeaderView> headers{
      {"Host", "api.example.com"},  {"Content-Type", "application/json"},
      {"Content-Length", "200"},    {"Accept", "*/*"},
      {"User-Agent", "an-sdk/1.0"}, {"Authorization", "Bearer sk_test_4242424242424242"}};
  Call call{"POST", &url, headers, {}, {}, {}};
};

inline const Instant noon{std::chrono::milliseconds(1'750'000'000'000)};

// Distinct for distinct numbers.
inline Digest id_of(std::uint64_t number) {
  Digest id{};
  // Spread over an index as digests are.
  for (std::size_t i = 0; i < 8; ++i)
    id[i] = static_cast<std::uint8_t>((number * 0x9E3779B97F4A7C15U) >> (8 * i));
  for (std::size_t i = 0; i < 8; ++i) id[8 + i] = static_cast<std::uint8_t>(number >> (8 * i));
  return id;
}

inline AnswerPtr answer_of_300_bytes() {
  auto answer = std::make_shared<Answer>();
  answer->status = 200;
  answer->reason = "OK";
  answer->headers = {{"Content-Type", "application/json"},
                     {"Date", "Mon, 01 Jan 2024 00:00:00 GMT"}};
  answer->body = std::string(300, 'x');
  answer->received_at = noon;
  return answer;
}

// A first call's decision and that of its answer: what one guarded call asks of decide().
struct Decided {
  Record claimed, settled;
};
inline Decided decide_call(const Identity& who, const Policy& policy, const AnswerPtr& answer,
                           std::uint64_t version) {
  Arrived arrived;
  arrived.id = who.id;
  arrived.identity = &who;
  arrived.route = "charge_card";
  arrived.method = "POST";
  arrived.url = "https://api.example.com/v1/charges";
  arrived.instance = "an-instance-of-a-proxy";
  auto claim = decide(nullptr, policy, arrived, noon);
  Decided made;
  made.claimed = std::get<Execute>(std::move(claim)).next;
  made.claimed.version = made.claimed.claim_version = made.claimed.generation = version;
  auto settle = decide(&made.claimed, policy, Settled{version, Answered{answer}}, noon);
  made.settled = std::get<Commit>(std::move(settle)).next;
  return made;
}

}  // namespace ledger::bench
