// What a route promises: the values that the core decides by. Core: plain values, no YAML.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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

// How to ask an upstream whether a call happened (`probe:`). Constant.
struct ProbeRule {
  KeyTemplate get;          // an absolute URL, or a path at the call's own origin
  std::string executed_if;  // JSON pointer into what comes: it happened where something is there
  // What a repeat gets then: a JSON pointer into the same, or (it begins with `{` or `[`) the text
  // of an answer. Empty: the object that `executed_if` points into.
  std::string answer;
  std::optional<Duration> settle_after;  // nullopt: twice the route's timeout
  // Ledger's own credentials. nullopt: only those of a repeat that is present, so that nobody asks
  // in between.
  std::optional<std::vector<std::pair<std::string, std::string>>> headers;
};

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
  std::shared_ptr<const ProbeRule> probe;           // null: nobody is asked
  // Calls that only read (is_read) pass, unless they bring a key of their own. `reads: pass | once`;
  // unset: they pass where the route has neither `policy: once` nor `max` written in it.
  bool reads_pass = true;
  IdentityRules identity;

  // Without a key that the upstream knows, sending again would be a guess: always hold.
  InDoubt when_in_doubt() const {
    return upstream_key.empty() ? InDoubt::hold : in_doubt.value_or(InDoubt::retry);
  }

  // How long after its connection was closed a call that the upstream does not know counts as one
  // that never happened.
  Duration settle_after() const {
    return probe ? probe->settle_after.value_or(2 * timeout) : 2 * timeout;
  }
};

// Gives `policy` this upstream key. One in the body varies between a call and its retry, so it is
// no identity.
void use_upstream_key(Policy& policy, const std::string& upstream_key);

}  // namespace ledger
