// Records, statistics and explanations as JSON: the same from the admin endpoint and `--json`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "guard/tunnels.h"
#include "store/store.h"

namespace ledger {

using Json = nlohmann::ordered_json;

// RFC 3339 in UTC with milliseconds.
std::string to_rfc3339(Instant t);

// The fields of a record; with `whole` its answer's status and headers and its history too.
Json record_json(const Record& record, bool whole);

// {"totals": {...}, "routes": [...]}.
Json stats_json(const std::vector<RouteStats>& routes);
RouteStats totals_of(const std::vector<RouteStats>& routes);
// Of all attempts, the share that did not execute; 0 without attempts.
double duplicate_rate(const Counts& counts);

// [{"host", "opened", "blind", "passed"}], by host.
Json tunnels_json(const TunnelCounts& tunnels);

// Serialises; bytes that are not UTF-8 are replaced, never thrown at.
std::string dump(const Json& json);

}  // namespace ledger
