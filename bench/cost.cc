// Fixed work for tests/cost_guard.py, which counts its instructions: cost WHAT TIMES.
#include <cstdlib>
#include <iostream>
#include <memory>

#include "bench/fixtures.h"

using namespace ledger;
using namespace ledger::bench;

int main(int count, char** words) {
  if (count != 3) return std::cerr << "usage: cost canonicalise|identify|decide TIMES\n", 2;
  const std::string_view what = words[1];
  const auto times = std::strtoul(words[2], nullptr, 10);
  const IdentityRules rules;
  const Policy policy;
  const auto answer = answer_of_300_bytes();
  // Many bodies, so that no cache can know them all by heart.
  std::vector<std::unique_ptr<FixedCall>> calls;
  for (std::uint64_t mark = 0; mark < 64; ++mark)
    calls.push_back(std::make_unique<FixedCall>(mark));
  std::size_t sum = 0;
  for (std::size_t i = 0; i < times; ++i) {
    const auto& call = calls[i % calls.size()]->call;
    if (what == "canonicalise") {
      sum += canonical_body(call, rules).bytes.size();
    } else if (what == "identify") {
      sum += identify(call, rules, "charge_card", {}, "a secret of the store")->id[0];
    } else if (what == "decide") {
      sum += decide_call({}, policy, answer, 7).settled.history.size();
    } else {
      return std::cerr << "unknown: " << what << "\n", 2;
    }
  }
  return sum == 1 ? 3 : 0;  // so that nothing is optimised away
}
