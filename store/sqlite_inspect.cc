#include "store/sqlite_inspect.h"

#include <algorithm>
#include <unordered_map>

namespace ledger::sqlite {
namespace {

// The index that makes a query cheap. SQLite knows no statistics of ours, and would rather walk all
// records than sort a few.
std::string source_for(const Query& query) {
  const char* index = "";
  if (query.state == State::in_flight) {
    index = "INDEXED BY records_in_flight ";
  } else if (query.state == State::released || query.state == State::in_doubt) {
    index = "INDEXED BY records_unsettled ";
  }
  return std::string("FROM records ") + index + "LEFT JOIN answers USING (seq) ";
}

// The index on version leaves out what is in flight, to make claims cheaper; the few records that
// are have their own.
const char* changed_since(bool other_index) {
  if (other_index) return "AND version > ?4 ";
  return "AND records.seq IN ("
         "SELECT seq FROM records INDEXED BY records_version WHERE state <> 0 AND version > ?4 "
         "UNION ALL "
         "SELECT seq FROM records INDEXED BY records_in_flight WHERE state = 0 AND version > ?4) ";
}

std::string conditions_for(const Query& query) {
  std::string where = "WHERE TRUE ";
  if (query.state) {
    where += "AND state = " + std::to_string(static_cast<int>(*query.state)) + " ";
    // Spelled as the index's condition is, or SQLite does not see that it holds.
    if (*query.state == State::released || *query.state == State::in_doubt)
      where += "AND state >= 2 ";
  }
  if (query.route) where += "AND route = ?1 ";
  if (query.agent) where += "AND agent = ?2 ";
  if (query.cursor) where += "AND records.seq < ?3 ";
  if (query.changed_since) where += changed_since(query.state.has_value());
  return where;
}

}  // namespace

template <class Result, class Look>
tl::expected<Result, StoreError> Inspector::read(Look look) {
  std::lock_guard guard(mutex_);
  session_.tables->begin_read();
  Result result = look(*session_.tables);
  session_.tables->commit();
  if (auto error = session_.db->take_error()) {
    session_.db->rollback();
    return tl::unexpected(StoreError{words_for(*error, path_), false});
  }
  return result;
}

tl::expected<Page, StoreError> Inspector::scan(const Query& query) {
  return read<Page>([&](Tables& tables) {
    Page page;
    page.version = tables.version();
    if (query.limit == 0) return page;
    Statement select(tables.db(), select_records(false) + source_for(query) +
                                      conditions_for(query) + "ORDER BY records.seq DESC LIMIT ?5");
    if (query.route) select.bind(1, std::string_view(*query.route));
    if (query.agent) select.bind(2, std::string_view(*query.agent));
    if (query.cursor) select.bind(3, query.cursor);
    if (query.changed_since) select.bind(4, query.changed_since);
    // One more than asked for tells whether there is a next page.
    const auto limit = std::min<std::size_t>(query.limit, 1'000'000);
    select.bind(5, static_cast<std::int64_t>(limit + 1));
    std::uint64_t last = 0;
    while (select.step()) {
      if (page.records.size() == limit) {
        page.next = last;
        break;
      }
      last = read_seq(select);
      page.records.push_back(read_record(select));
    }
    return page;
  });
}

tl::expected<std::vector<RouteStats>, StoreError> Inspector::stats() {
  return read<std::vector<RouteStats>>([](Tables& tables) {
    std::vector<RouteStats> all;
    Statement select(tables.db(),
                     "SELECT route, sum(attempts), sum(executed), sum(replayed), sum(joined), "
                     "sum(unsent), sum(mismatched), count(*), sum(state = 0), sum(state = 1), "
                     "sum(state = 2), sum(state = 3) "
                     "FROM records GROUP BY route ORDER BY route");
    while (select.step()) {
      RouteStats route;
      route.route = select.text(0);
      route.counts = {select.natural(1), select.natural(2), select.natural(3),
                      select.natural(4), select.natural(5), select.natural(6)};
      route.records = select.natural(7);
      route.in_flight = select.natural(8);
      route.completed = select.natural(9);
      route.released = select.natural(10);
      route.in_doubt = select.natural(11);
      all.push_back(std::move(route));
    }
    return all;
  });
}

tl::expected<std::vector<Record>, StoreError> Inspector::orphans(std::size_t limit) {
  return read<std::vector<Record>>([&](Tables& tables) {
    std::vector<Record> lost;
    const auto in_flight = tables.in_flight();
    const auto now = clock_();
    std::unordered_map<std::string, bool> alive;
    for (const auto& instance : tables.instances())
      alive[instance.name] = is_alive(instance, locks_, now);
    for (const auto& record : in_flight) {
      if (lost.size() >= limit) break;
      const auto owner = alive.find(record.owner);
      if (record.ownerless_at > now && owner != alive.end() && owner->second) continue;
      if (auto found = tables.find(record.seq)) lost.push_back(std::move(*found));
    }
    return lost;
  });
}

}  // namespace ledger::sqlite
