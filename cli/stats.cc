// ledger stats: what was asked for, and what of it was sent, by route.
#include <map>

#include "cli/records.h"
#include "cli/rows.h"

namespace ledger::cli {
namespace {

tl::expected<std::vector<RouteStats>, StoreError> stored_sums(Store& store) {
  auto routes = store.stats();
  if (!routes) return routes;
  for (const auto& [id, record] : left_behind(store))
    for (auto& sum : *routes)
      if (sum.route == record.route && sum.in_flight > 0) --sum.in_flight, ++sum.in_doubt;
  return routes;
}

tl::expected<std::vector<RouteStats>, StoreError> sums(const Looked& looked) {
  if (!looked.filter.any()) return stored_sums(*looked.store);
  std::map<std::string, RouteStats> by_route;
  const auto scanned = each_record(*looked.store, looked.filter, [&](Record& record) {
    auto& sum = by_route[record.route];
    sum.route = record.route;
    add(sum, record);
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  std::vector<RouteStats> all;
  for (auto& [route, sum] : by_route) all.push_back(std::move(sum));
  return all;
}

}  // namespace

int stats(const StatsOptions& options) {
  const auto looked = look(options);
  if (!looked) return looked.error();
  const auto routes = sums(*looked);
  if (!routes) return refuse(routes.error().message);
  if (options.json)
    print_json(stats_json(*routes));
  else
    print(stats_rows(*routes), shows_colour(1));
  return fine;
}

}  // namespace ledger::cli
