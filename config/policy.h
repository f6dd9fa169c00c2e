// What a route promises: the values that the core decides by. Core: plain values, no YAML.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fingerprint/identity.h"

namespace ledger {

using Duration = std::chrono::milliseconds;

// What a complete response says about its effect.
enum class Verdict : std::uint8_t { completed, released, in_doubt };

// Status -> verdict. Defaults: 2xx 3xx completed; 4xx and 503 + Retry-After released; everything
// else (other 5xx, 408, on `upstream_key` routes 409) in doubt. A single status beats its class,
// and so do the defaults that name one (408, 409, 503): only naming the same status changes them.
class Outcomes {
 public:
  Outcomes();
  void set_class(int hundreds, Verdict verdict);  // 2..5
  void set_status(int status, Verdict verdict);   // 200..599
  // `retry_after`: the response carries Retry-After. `upstream_key`: the call goes out with one. A
  // status outside 200..599 is no final answer, so it is in doubt.
  Verdict of(int status, bool retry_after, bool upstream_key) const;

  bool operator==(const Outcomes&) const = default;

 private:
  std::array<Verdict, 6> by_class_;
  std::array<std::optional<Verdict>, 600> by_status_;
};

enum class OnDuplicate : std::uint8_t { replay, block };
enum class OnInFlight : std::uint8_t { wait, refuse };
enum class InDoubt : std::uint8_t { hold, retry };

struct Policy {
  bool guarded = true;    // policy: once | pass
  std::uint32_t max = 1;  // executions per key that may have had an effect
  std::optional<Duration> ttl = std::chrono::hours(24);  // nullopt: forever
  OnDuplicate on_duplicate = OnDuplicate::replay;
  OnInFlight on_in_flight = OnInFlight::wait;
  Duration wait = std::chrono::seconds(60);
  std::optional<InDoubt> in_doubt;       // unset: retry where there is an upstream_key, else hold
  std::optional<Duration> in_doubt_ttl;  // nullopt: forever
  Outcomes outcomes;
  // To the end of the upstream's answer. On a route that passes, zero: no limit.
  Duration timeout = std::chrono::seconds(80);
  // By what the upstream deduplicates: a header, `body:/name` (a member of the JSON object) or
  // `form:name`; empty: none.
  std::string upstream_key;
  Duration upstream_key_ttl = std::chrono::hours(23);
  std::uint32_t retries = 2;  // how often a call that could not be sent is tried again
  std::size_t body_max = std::size_t{1} << 20;      // bytes
  std::size_t response_max = std::size_t{8} << 20;  // bytes
  IdentityRules identity;

  // Without a key that the upstream knows, sending again would be a guess: always hold.
  InDoubt when_in_doubt() const {
    return upstream_key.empty() ? InDoubt::hold : in_doubt.value_or(InDoubt::retry);
  }
};

// Gives `policy` this upstream key. One in the body varies between a call and its retry, so it is
// no identity.
void use_upstream_key(Policy& policy, const std::string& upstream_key);

}  // namespace ledger
