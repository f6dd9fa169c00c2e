#include "cli/rows.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>

#include "admin/json.h"
#include "store/apply.h"

namespace ledger::cli {
namespace {

constexpr std::size_t name_columns = 48, label_columns = 64;

struct StateLook {
  const char* symbol;
  const char* words;
  Style style;
};

StateLook look_of(State state) {
  switch (state) {
    case State::completed:
      return {"✓", "completed", Style::good};
    case State::in_flight:
      return {"…", "in flight", Style::plain};
    case State::released:
      return {"↺", "released", Style::dim};
    case State::in_doubt:
      break;
  }
  return {"?", "in doubt", Style::warn};
}

Cell number(std::uint64_t n, Style style = Style::plain) {
  return {std::to_string(n), style, true};
}

std::string percent(double share) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f%%", share * 100);
  return text.data();
}

std::string spaced(std::string text) {
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

// `sums`: what is nothing there has no column.
Row stats_row(const std::string& name, const RouteStats& stats, const Counts& sums, Style style) {
  const auto& c = stats.counts;
  Row row{{name, style}, number(c.attempts), number(c.executed)};
  if (sums.unsent > 0) row.push_back(number(c.unsent));
  for (const auto n : {c.blocked(), c.replayed, c.joined}) row.push_back(number(n));
  if (sums.mismatched > 0) row.push_back(number(c.mismatched));
  row.push_back(number(stats.in_doubt, stats.in_doubt > 0 ? Style::warn : Style::plain));
  row.push_back({percent(duplicate_rate(c)), Style::plain, true});
  return row;
}

std::string answer_text(const Answer& answer) {
  auto text = std::to_string(answer.status);
  if (!answer.reason.empty()) text += " " + clean(answer.reason);
  return text + ", " + (answer.body_stored ? sized(answer.body.size()) : "body not stored");
}

StateLook look_of(const RouteStats& sum) {
  return look_of(sum.in_doubt > 0    ? State::in_doubt
                 : sum.in_flight > 0 ? State::in_flight
                 : sum.completed > 0 ? State::completed
                                     : State::released);
}

Row log_row(const RouteStats& sum) {
  const auto look = look_of(sum);
  const auto& c = sum.counts;
  Row row{{std::string(look.symbol) + " " + sum.route, look.style},
          {"attempts " + std::to_string(c.attempts)},
          {"executed " + std::to_string(c.executed)},
          {"blocked " + std::to_string(c.blocked())}};
  if (c.blocked() > 0)
    row.push_back({"← retried " + std::to_string(c.blocked()) + "×", Style::dim});
  if (c.unsent > 0) row.push_back({"unsent " + std::to_string(c.unsent), Style::dim});
  if (c.mismatched > 0) row.push_back({"mismatched " + std::to_string(c.mismatched), Style::warn});
  if (sum.in_doubt > 0) row.push_back({"in doubt " + std::to_string(sum.in_doubt), Style::warn});
  return row;
}

std::string times(std::uint64_t n) { return std::to_string(n) + "×"; }

// What a person knows the call by.
std::string call_of(const Record& record) {
  const auto text = !record.label.empty()      ? record.label
                    : !record.key_text.empty() ? "key " + record.key_text
                                               : "";
  return name_of(record) + (text.empty() ? "" : ": " + shorten(clean(text), label_columns));
}

std::string caller_of(const Record& record) {
  return clean(record.agent) + (record.run.empty() ? "" : ", run " + clean(record.run));
}

std::string moment(Instant at, Instant now) {
  return relative(at, now) + "  (" + to_rfc3339(at) + ")";
}

}  // namespace

std::string name_of(const Record& record) {
  if (!record.route.empty()) return shorten(clean(record.route), name_columns);
  std::string_view place = record.url;
  if (const auto scheme = place.find("://"); scheme != place.npos) place.remove_prefix(scheme + 3);
  place = place.substr(0, place.find_first_of("?#"));
  return shorten(clean(record.method) + " " + clean(place), name_columns);
}

Cell state_cell(State state) {
  const auto look = look_of(state);
  return {std::string(look.symbol) + " " + look.words, look.style};
}

void add(RouteStats& sum, const Record& record) {
  add_to(sum.counts, record.counts);
  ++sum.records;
  switch (record.state) {
    case State::in_flight:
      ++sum.in_flight;
      break;
    case State::completed:
      ++sum.completed;
      break;
    case State::released:
      ++sum.released;
      break;
    case State::in_doubt:
      ++sum.in_doubt;
      break;
  }
}

Summary::Line& Summary::line_of(const Record& record) {
  const bool place = record.route.empty();
  // What looks alike is one line.
  auto name = name_of(record);
  auto found = by_name_.find(name);
  auto style = Style::plain;
  if (found == by_name_.end() && place && places_++ >= places_max_) {
    name = "(older calls of other places)";
    style = Style::dim;
    found = by_name_.find(name);
  }
  if (found != by_name_.end()) return lines_[found->second];
  by_name_.emplace(name, lines_.size());
  auto& line = lines_.emplace_back();
  line.sum.route = std::move(name);
  line.style = style;
  return line;
}

void Summary::add(const Record& record) { cli::add(line_of(record).sum, record); }

std::size_t Summary::in_doubt() const {
  std::size_t n = 0;
  for (const auto& line : lines_) n += line.sum.in_doubt;
  return n;
}

std::vector<Row> Summary::rows(std::size_t last) const {
  std::vector<Row> rows;
  for (const auto& line : lines_)
    if (last == 0 || rows.size() < last) rows.push_back(log_row(line.sum));
  std::reverse(rows.begin(), rows.end());
  return rows;
}

Row record_row(const Record& record) {
  RouteStats alone;
  alone.route = name_of(record);
  add(alone, record);
  auto row = log_row(alone);
  row.insert(row.begin(), Cell{short_id(record.id), Style::dim});
  return row;
}

Doubt doubt_of(const Record& record) {
  Doubt doubt{record.updated_at, ""};
  for (auto entry = record.history.rbegin(); entry != record.history.rend(); ++entry) {
    if (entry->event == "in_doubt" || entry->event == "owner_lost") {
      doubt.since = entry->at;
      if (doubt.why.empty()) doubt.why = entry->detail;
    } else if (entry->event != "claimed" || entry->detail.empty()) {
      break;  // the claim that began it; a sending again says so
    }
  }
  return doubt;
}

std::vector<Row> doubt_rows(const std::vector<Record>& records, Instant now) {
  std::vector<Row> rows{{}};
  for (const auto* heading : {"id", "call", "agent", "since", "why", "sent", "asked for"})
    rows.front().push_back({heading, Style::bold});
  for (const auto& record : records) {
    const auto doubt = doubt_of(record);
    rows.push_back({{short_id(record.id), Style::warn},
                    {call_of(record)},
                    {caller_of(record)},
                    {moment(doubt.since, now)},
                    {clean(doubt.why)},
                    {times(record.counts.executed)},
                    {times(record.counts.attempts)}});
  }
  return rows;
}

std::vector<Row> settling_rows(const Record& record, Instant now) {
  const auto doubt = doubt_of(record);
  std::vector<Row> rows;
  const auto add = [&](const char* name, std::string text) {
    if (!text.empty()) rows.push_back({{name, Style::dim}, {std::move(text)}});
  };
  add("id", to_hex(record.id));
  add("route", clean(record.route));
  add("label", clean(record.label));
  add("key", clean(record.key_text));
  add("call", clean(record.method) + " " + clean(record.url));
  add("agent", caller_of(record));
  add("since", moment(doubt.since, now));
  add("why", clean(doubt.why));
  add("sent", times(record.counts.executed));
  return rows;
}

std::vector<Row> stats_rows(const std::vector<RouteStats>& routes) {
  const auto total = totals_of(routes);
  std::vector<Row> rows{{{"route", Style::bold}}};
  const auto head = [&](const char* heading, bool shown = true) {
    if (shown) rows.front().push_back({heading, Style::bold, true});
  };
  head("attempts");
  head("executed");
  head("unsent", total.counts.unsent > 0);
  for (const auto* heading : {"blocked", "replayed", "joined"}) head(heading);
  head("mismatched", total.counts.mismatched > 0);
  head("in doubt");
  head("duplicate rate");
  for (const auto& r : routes)
    rows.push_back(stats_row(r.route.empty() ? "(no route)" : shorten(clean(r.route), name_columns),
                             r, total.counts, r.route.empty() ? Style::dim : Style::plain));
  rows.push_back(stats_row("total", total, total.counts, Style::bold));
  return rows;
}

std::vector<Row> field_rows(const Record& r, Instant now) {
  std::vector<Row> rows;
  const auto add = [&](const char* name, std::string text, Style style = Style::plain) {
    if (!text.empty()) rows.push_back({{name, Style::dim}, {std::move(text), style}});
  };
  const auto state = state_cell(r.state);
  add("id", to_hex(r.id));
  add("state", state.text, state.style);
  add("route", clean(r.route));
  add("label", clean(r.label));
  add("call", clean(r.method) + " " + clean(r.url));
  add("agent", clean(r.agent));
  add("run", clean(r.run));
  add("answer", r.answer ? answer_text(*r.answer) : "");
  add("attempts", std::to_string(r.counts.attempts));
  add("executed", std::to_string(r.counts.executed));
  add("blocked", std::to_string(r.counts.blocked()) + "  (replayed " +
                     std::to_string(r.counts.replayed) + ", joined " +
                     std::to_string(r.counts.joined) + ")");
  add("unsent", r.counts.unsent > 0 ? std::to_string(r.counts.unsent) : "");
  add("mismatched", r.counts.mismatched > 0 ? std::to_string(r.counts.mismatched) +
                                                  "  (other calls under the same key, refused)"
                                            : "");
  add("key", (r.key_text.empty() ? "" : clean(r.key_text) + ", ") + "from " +
                 std::string(to_string(r.key_source)));
  add("fingerprint", to_hex(r.fingerprint));
  add("created", moment(r.created_at, now));
  add("updated", moment(r.updated_at, now));
  if (r.state != State::in_flight)
    add(r.expired(now) ? "expired" : "expires",
        r.expires_at ? moment(*r.expires_at, now) : "never");
  return rows;
}

std::vector<Row> history_rows(const Record& record, Instant now) {
  std::vector<Row> rows;
  for (const auto& entry : record.history)
    rows.push_back({{relative(entry.at, now), Style::dim, true},
                    {spaced(clean(entry.event))},
                    {clean(entry.detail)}});
  return rows;
}

std::string short_id(const Digest& id) { return to_hex(id).substr(0, 8); }

bool is_id_prefix(std::string_view text) {
  return text.size() >= 6 && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
}

}  // namespace ledger::cli
