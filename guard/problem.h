// Ledger's own errors, as RFC 9457 problems: each says whose fault it is and whether a retry is
// safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/record.h"

namespace ledger {

struct Problem {
  std::string_view slug;  // type = urn:ledger:<slug>; static storage
  int status = 500;
  std::string_view title;  // static storage
  std::string detail;      // one sentence that a person and a model can act on
  bool safe_to_retry = false;
  // What an agent should do: `retry` the same call, `wait` and then retry it, `stop` (never send it
  // again), `fix` the call or a setting, or `ask_a_person`.
  std::string_view advice = "fix";
  std::optional<State> state;        // of the record, where one is meant
  std::optional<int> retry_after_s;  // Retry-After
  // What Ledger-Status says of this answer.
  std::string_view ledger_status = "refused";
};

// Why nothing was sent.
enum class NotReached : std::uint8_t {
  failed,  // no such host, a refused connection, a certificate, a lapsed lease
  loop,    // it leads to ourselves
  denied   // `egress` says so
};

// The table of all problems: one function each, so that a slug, its status and its words stand
// once.
namespace problem {
Problem bad_request(std::string detail);                        // 400
Problem key_missing(std::string detail);                        // 400
Problem key_reused(State state);                                // 422
Problem key_is_record();                                        // 400
Problem duplicate_blocked();                                    // 409
Problem in_flight();                                            // 409
Problem in_doubt(std::string_view why);                         // 409
Problem answer_not_stored(std::string_view why);                // 409
Problem rejection_not_stored(int status);                       // 409, safe to retry
Problem body_too_large(std::size_t limit);                      // 413
Problem header_too_large(std::size_t limit);                    // 431
Problem request_timeout();                                      // 408
Problem not_mounted(std::string_view path);                     // 404
Problem proxy_auth_required();                                  // 407
Problem token_required();                                       // 401
Problem not_implemented(std::string detail);                    // 501
Problem store_unavailable(std::string_view why);                // 503
Problem draining();                                             // 503
Problem too_busy();                                             // 503
Problem memory_full();                                          // 503
Problem many_bodies();                                          // 503
Problem loop_detected();                                        // 508
Problem upstream_unreachable(std::string_view why);             // 502, safe to retry
Problem outcome_unknown(std::string_view why, bool timed_out);  // 504 or 502, not safe
Problem upstream_failed(std::string_view why, bool timed_out);  // pass policy: 502 or 504
Problem tunnel_not_opened(std::string_view host);               // https.strict
Problem egress_denied(std::string_view why);                    // 403
Problem host_not_allowed(std::string_view why);                 // 403
Problem not_reached(NotReached reason, std::string_view why);   // one of three
}  // namespace problem

// application/problem+json, with the fields that SDKs show (`message`, `error`). `record` is its id
// in hex and `route` its name; either may be empty: left out.
std::string problem_json(const Problem& problem, std::string_view record, std::string_view route);

}  // namespace ledger
