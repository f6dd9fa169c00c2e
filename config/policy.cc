#include "config/policy.h"

#include <cassert>

namespace ledger {

Outcomes::Outcomes() {
  by_class_.fill(Verdict::in_doubt);
  by_class_[2] = by_class_[3] = Verdict::completed;
  by_class_[4] = Verdict::released;
  // A 408 says that the server gave up on the request, not that it did nothing with it.
  by_status_[408] = Verdict::in_doubt;
}

void Outcomes::set_class(int hundreds, Verdict verdict) {
  assert(hundreds >= 2 && hundreds <= 5);
  by_class_[static_cast<std::size_t>(hundreds)] = verdict;
}

void Outcomes::set_status(int status, Verdict verdict) {
  assert(status >= 200 && status <= 599);
  by_status_[static_cast<std::size_t>(status)] = verdict;
}

Verdict Outcomes::of(int status, bool retry_after, bool upstream_key) const {
  if (status < 200 || status > 599) return Verdict::in_doubt;
  const auto index = static_cast<std::size_t>(status);
  if (by_status_[index]) return *by_status_[index];
  // The upstream asks to be called again, so it did not take the call.
  if (status == 503 && retry_after) return Verdict::released;
  // Under an idempotency key 409 often means "the first one is still running".
  if (status == 409 && upstream_key) return Verdict::in_doubt;
  return by_class_[index / 100];
}

void use_upstream_key(Policy& policy, const std::string& upstream_key) {
  policy.upstream_key = upstream_key;
  if (upstream_key.find(':') == upstream_key.npos) return;
  if (auto rule = parse_ignore(upstream_key)) policy.identity.ignore.push_back(std::move(*rule));
}

}  // namespace ledger
