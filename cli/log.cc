// ledger log: one line a route, the latest activity last.
#include <algorithm>
#include <iostream>

#include "cli/records.h"
#include "cli/rows.h"

namespace ledger::cli {
namespace {

int print_records(const Looked& looked, std::size_t last) {
  std::vector<Json> lines;
  const auto scanned = each_record(*looked.store, looked.filter, [&](Record& record) {
    lines.push_back(record_json(record, false));
    return last == 0 || lines.size() < last;
  });
  if (!scanned) return refuse(scanned.error().message);
  std::for_each(lines.rbegin(), lines.rend(), print_json);
  return fine;
}

}  // namespace

int log(const LogOptions& options) {
  const auto looked = look(options);
  if (!looked) return looked.error();
  if (options.json) return print_records(*looked, options.last);
  Summary summary;
  const auto scanned = each_record(*looked->store, looked->filter, [&](Record& record) {
    summary.add(record);
    return true;
  });
  if (!scanned) return refuse(scanned.error().message);
  print(summary.rows(options.last), shows_colour(1));
  if (summary.empty() && is_terminal(1)) std::cerr << nothing_found(looked->filter);
  if (const auto n = summary.in_doubt(); n > 0 && is_terminal(2))
    std::cerr << counted(n, "call") << " in doubt: " << command_for("doubts", options)
              << " says which, and what to do\n";
  return fine;
}

}  // namespace ledger::cli
