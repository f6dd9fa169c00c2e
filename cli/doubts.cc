// ledger doubts: the calls of which nobody knows whether they happened, and what a person can do.
#include <algorithm>
#include <iostream>

#include "cli/records.h"
#include "cli/rows.h"

namespace ledger::cli {
namespace {

Json doubt_json(const Record& record, const DoubtsOptions& options) {
  const auto doubt = doubt_of(record);
  auto json = record_json(record, false);
  json["since"] = to_rfc3339(doubt.since);
  json["why"] = doubt.why;
  json["if_executed"] = command_for("resolve " + short_id(record.id) + " --executed", options);
  json["if_not_executed"] =
      command_for("resolve " + short_id(record.id) + " --not-executed", options);
  return json;
}

}  // namespace

int doubts(const DoubtsOptions& options) {
  auto asked = options;
  if (!asked.filters.state) asked.filters.state = to_string(State::in_doubt);
  const auto looked = look(asked);
  if (!looked) return looked.error();
  const auto now = looked->store->now();
  std::vector<Record> records;
  const auto scanned = each_record(*looked->store, looked->filter, [&](Record& record) {
    if (record.state == State::in_doubt && !record.expired(now))
      records.push_back(std::move(record));
    return options.last == 0 || records.size() < options.last;
  });
  if (!scanned) return refuse(scanned.error().message);
  std::reverse(records.begin(), records.end());
  if (options.json) {
    for (const auto& record : records) print_json(doubt_json(record, options));
    return fine;
  }
  if (records.empty()) {
    if (is_terminal(1)) std::cerr << "nothing is in doubt\n";
    return fine;
  }
  print(doubt_rows(records, now), shows_colour(1));
  std::cout << "\nFind out at the destination, then: it happened, `"
            << clean(command_for("resolve ID --executed", options))
            << "` (never sent again); it did not, `"
            << clean(command_for("resolve ID --not-executed", options))
            << "` (the next repeat is sent)\n";
  return fine;
}

}  // namespace ledger::cli
