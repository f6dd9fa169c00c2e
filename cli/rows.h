// Records and statistics as rows of a table, for people.
#pragma once

#include <string>
#include <vector>

#include "cli/terminal.h"
#include "store/store.h"

namespace ledger::cli {

// The route's name, or `METHOD host/path` of a call that no route names.
std::string name_of(const Record& record);

// "✓ completed", "… in flight", "↺ released", "? in doubt".
Cell state_cell(State state);

// ✓ charge_card | attempts 5 | executed 1 | blocked 4 | ← retried 4×
Row log_row(const Record& record);

// Heading, one row a route, and the totals of more than one.
std::vector<Row> stats_rows(const std::vector<RouteStats>& routes);

// One record: its fields, and its history.
std::vector<Row> field_rows(const Record& record, Instant now);
std::vector<Row> history_rows(const Record& record, Instant now);

// The first digits of an id, enough to name it to `show` and `resolve`.
std::string short_id(const Digest& id);
// Six to 64 hex digits: can be the beginning of an id.
bool is_id_prefix(std::string_view text);

}  // namespace ledger::cli
