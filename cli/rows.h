// Records and statistics as rows of a table, for people.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "cli/terminal.h"
#include "store/store.h"

namespace ledger::cli {

// The route's name, or `METHOD host/path` of a call that no route names.
std::string name_of(const Record& record);

// "✓ completed", "… in flight", "↺ released", "? in doubt".
Cell state_cell(State state);

// What many records sum up to, by the name that the log gives them. Add the newest first: the lines
// come in the order of their latest activity, the latest last. Calls that no route names go to few
// places or to any number; beyond `places_max` those of the older ones share a line.
class Summary {
 public:
  explicit Summary(std::size_t places_max = 200) : places_max_(places_max) {}
  void add(const Record& record);
  bool empty() const { return lines_.empty(); }
  std::size_t in_doubt() const;
  // The latest `last` lines; 0: all.
  std::vector<Row> rows(std::size_t last = 0) const;

 private:
  struct Line {
    RouteStats sum;  // `route`: the name that is shown
    Style style;
  };
  Line& line_of(const Record& record);

  std::size_t places_max_, places_ = 0;
  std::vector<Line> lines_;
  std::unordered_map<std::string, std::size_t> by_name_;
};

// Adds a record to its route's sum.
void add(RouteStats& sum, const Record& record);

// 1a2b3c4d | ✓ charge_card | attempts 5 | executed 1 | blocked 4 | ← retried 4×
Row record_row(const Record& record);

// When a record in doubt became so, and the latest reason.
struct Doubt {
  Instant since;
  std::string why;
};
Doubt doubt_of(const Record& record);
// Heading, and one row a record that is in doubt.
std::vector<Row> doubt_rows(const std::vector<Record>& records, Instant now);
// What a person must know to settle this one.
std::vector<Row> settling_rows(const Record& record, Instant now);

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
