// ledger log: one line a record, oldest first.
#include <algorithm>
#include <iostream>

#include "cli/commands.h"
#include "cli/rows.h"

namespace ledger::cli {

int log(const LogOptions& options) {
  const auto store = open_existing(options.store, options);
  if (!store) return store.error();
  // Rows, not records: a long log holds few bytes of each.
  std::vector<Row> rows;
  std::vector<Json> lines;
  std::size_t in_doubt = 0;
  const auto scanned = each_record(**store, [&](Record& record) {
    if (options.json)
      lines.push_back(record_json(record, false));
    else
      rows.push_back(log_row(record));
    in_doubt += record.state == State::in_doubt;
    return options.last == 0 || std::max(rows.size(), lines.size()) < options.last;
  });
  if (!scanned) return refuse(scanned.error().message);
  std::reverse(rows.begin(), rows.end());
  std::for_each(lines.rbegin(), lines.rend(), print_json);
  print(rows, shows_colour(1));
  if (rows.empty() && !options.json && is_terminal(1)) std::cerr << "no calls yet\n";
  if (in_doubt > 0 && !options.json && is_terminal(2))
    std::cerr << counted(in_doubt, "call") << " in doubt: `ledger show` names "
              << (in_doubt == 1 ? "it" : "them") << ", `ledger resolve` settles\n";
  return fine;
}

}  // namespace ledger::cli
