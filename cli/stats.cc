// ledger stats: what was asked for, and what of it was sent, by route.
#include "cli/commands.h"
#include "cli/rows.h"

namespace ledger::cli {

int stats(const StatsOptions& options) {
  const auto store = open_existing(options.store, options);
  if (!store) return store.error();
  const auto routes = (*store)->stats();
  if (!routes) return refuse(routes.error().message);
  if (options.json)
    print_json(stats_json(*routes));
  else
    print(stats_rows(*routes), shows_colour(1));
  return fine;
}

}  // namespace ledger::cli
