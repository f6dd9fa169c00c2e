// The second half of tests/store_contract.h: what concerns many records, instances and the store as
// a whole; and the list of all cases.
#pragma once

#include "tests/store_contract.h"

namespace ledger::test {
namespace contract {

// Ten records, 0 to 9: even ones completed on route "a" by agent "x", odd ones in doubt on "".
inline std::vector<Record> fill(StoreHouse& house) {
  std::vector<Record> records;
  for (std::uint64_t i = 0; i < 10; ++i) {
    auto write = claim(id_of(i), house.clock.now());
    write.next->route = i % 2 ? "" : "a";
    write.next->agent = i % 2 ? "y" : "x";
    write.next->request = std::make_shared<const StoredRequest>();
    auto record = swapped(replace_now(house.store(), write));
    if (i % 2) {
      Replace doubt{record.id, record.version, record, {}, false};
      doubt.next->state = State::in_doubt;
      record = swapped(replace_now(house.store(), doubt));
    } else {
      record = swapped(replace_now(house.store(), settle(record, "body", house.clock.now())));
    }
    records.push_back(record);
  }
  return records;
}

inline std::vector<std::uint64_t> ids(const Page& page) {
  std::vector<std::uint64_t> ids;
  for (const auto& record : page.records) ids.push_back(record.id[0]);
  return ids;
}

inline void scan_gives_the_newest_first_in_pages(StoreHouse& house) {
  Store& store = house.store();
  const auto records = fill(house);
  const auto all = store.scan({});
  REQUIRE(all);
  CHECK(ids(*all) == std::vector<std::uint64_t>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0});
  CHECK(all->next == 0);
  const auto& completed = all->records[1];
  REQUIRE(completed.answer);
  CHECK(completed.answer->body.empty());
  CHECK(same(completed.answer, records[8].answer, false));
  CHECK(completed.answer->body_stored);
  CHECK(!completed.request);

  Query query;
  query.limit = 4;
  std::vector<std::uint64_t> seen;
  int pages = 0;
  do {
    const auto page = store.scan(query);
    REQUIRE(page);
    for (auto id : ids(*page)) seen.push_back(id);
    query.cursor = page->next;
    ++pages;
  } while (query.cursor);
  CHECK(pages == 3);
  CHECK(seen == ids(*all));
  query = {};
  query.limit = 10;  // exactly all: no page after it
  CHECK(store.scan(query)->next == 0);
  query.limit = 0;
  CHECK(store.scan(query)->records.empty());
}

inline void scan_filters(StoreHouse& house) {
  Store& store = house.store();
  const auto records = fill(house);
  swapped(replace_now(store, claim(id_of(10), house.clock.now())));
  Query query;
  query.state = State::completed;
  CHECK(ids(*store.scan(query)) == std::vector<std::uint64_t>{8, 6, 4, 2, 0});
  query.state = State::in_doubt;
  query.limit = 2;
  auto page = store.scan(query);
  CHECK(ids(*page) == std::vector<std::uint64_t>{9, 7});
  query.cursor = page->next;
  CHECK(ids(*store.scan(query)) == std::vector<std::uint64_t>{5, 3});
  query = {};
  query.state = State::in_flight;
  CHECK(ids(*store.scan(query)) == std::vector<std::uint64_t>{10});
  query.state = State::released;
  CHECK(store.scan(query)->records.empty());
  query = {};
  query.route = "";
  CHECK(ids(*store.scan(query)) == std::vector<std::uint64_t>{9, 7, 5, 3, 1});
  query.agent = "x";
  CHECK(store.scan(query)->records.empty());
  query.route = "a";
  query.state = State::completed;
  query.changed_since = records[3].version;
  CHECK(ids(*store.scan(query)) == std::vector<std::uint64_t>{8, 6, 4});
}

inline void a_tail_misses_nothing(StoreHouse& house) {
  Store& store = house.store();
  auto records = fill(house);
  auto first = store.scan({});
  REQUIRE(first);
  CHECK(first->version >= records.back().version);
  Query query;
  query.changed_since = first->version;
  CHECK(store.scan(query)->records.empty());

  Replace change{records[0].id, records[0].version, records[0], {}, false};
  swapped(replace_now(store, change));
  swapped(replace_now(store, claim(id_of(11), house.clock.now())));
  auto settled = swapped(replace_now(store, claim(id_of(12), house.clock.now())));
  swapped(replace_now(store, settle(settled, "x", house.clock.now())));
  count_now(store, {{records[5].id, {1, 0, 0, 0}}});  // counts are not a change
  const auto news = store.scan(query);
  CHECK(ids(*news) == std::vector<std::uint64_t>{12, 11, 0});
  CHECK(news->version > first->version);
}

inline void stats_sum_by_route(StoreHouse& house) {
  Store& store = house.store();
  fill(house);
  swapped(replace_now(store, claim(id_of(20), house.clock.now())));
  count_now(store, {{id_of(0), {4, 0, 3, 1, 0, 2}}});
  const auto stats = store.stats();
  REQUIRE(stats);
  REQUIRE(stats->size() == 3);
  const auto& unnamed = (*stats)[0];
  CHECK(unnamed.route.empty());
  CHECK(unnamed.records == 5);
  CHECK(unnamed.in_doubt == 5);
  const auto& a = (*stats)[1];
  CHECK(a.route == "a");
  CHECK(a.completed == 5);
  CHECK(a.counts.attempts == 9);
  CHECK(a.counts.executed == 5);
  CHECK(a.counts.replayed == 3);
  CHECK(a.counts.joined == 1);
  CHECK(a.counts.mismatched == 2);
  CHECK((*stats)[2].in_flight == 1);
}

inline void reap_takes_what_has_expired(StoreHouse& house) {
  Store& store = house.store();
  const auto now = house.clock.now();
  const State states[] = {State::in_flight, State::completed, State::released, State::in_doubt};
  for (std::uint64_t i = 0; i < 8; ++i) {
    auto write = claim(id_of(i), now);
    write.next->state = states[i % 4];
    write.next->answer = answer_of("x");
    write.next->expires_at = now + (i < 4 ? seconds(10) : seconds(20));
    swapped(replace_now(store, write));
  }
  auto forever = claim(id_of(8), now);
  forever.next->state = State::completed;
  swapped(replace_now(store, forever));

  CHECK(store.reap(100) == 0u);
  house.clock.advance(seconds(10));
  CHECK(store.reap(2) == 2u);
  CHECK(store.reap(100) == 1u);
  CHECK(load_now(store, id_of(0))->record);  // in flight: never
  CHECK(!load_now(store, id_of(1))->record);
  CHECK(load_now(store, id_of(5))->record);
  house.clock.advance(std::chrono::hours(1000));
  CHECK(store.reap(100) == 3u);
  CHECK(load_now(store, id_of(8))->record);
  CHECK(store.scan({})->records.size() == 3);
}

// --- instances ---------------------------------------------------------------------------------

inline bool owner_alive(Store& store, const Digest& id) {
  const auto loaded = load_now(store, id);
  REQUIRE(loaded);
  const auto conflict = replace_now(store, claim(id, store.now()));
  REQUIRE((conflict && !conflict->swapped));
  CHECK(conflict->found.owner_alive == loaded->owner_alive);
  return loaded->owner_alive;
}

inline void a_lease_stands_until_it_lapses(StoreHouse& house) {
  Store& store = house.store();
  const auto one = store.join_instance();
  const auto two = store.join_instance();
  REQUIRE((one && two));
  CHECK(*one != *two);
  const auto made = replace_now(store, claim(id_of(1), house.clock.now(), *one));
  CHECK(made->found.owner_alive);
  CHECK(owner_alive(store, id_of(1)));

  house.clock.advance(seconds(9));
  CHECK(store.heartbeat(*one) == true);
  house.clock.advance(seconds(9));
  CHECK(owner_alive(store, id_of(1)));
  CHECK(store.heartbeat(*two) == false);  // lapsed at ten
  house.clock.advance(seconds(1));        // exactly ten after the heartbeat
  CHECK(!owner_alive(store, id_of(1)));
  CHECK(store.heartbeat(*one) == false);
  house.clock.advance(seconds(-5));  // it was given up: a clock that steps back changes nothing
  CHECK(store.heartbeat(*one) == false);
  CHECK(!owner_alive(store, id_of(1)));
  CHECK(store.heartbeat("never joined") == false);
}

inline void who_leaves_is_dead_at_once(StoreHouse& house) {
  Store& store = house.store();
  const auto one = store.join_instance();
  REQUIRE(one);
  const auto claimed = swapped(replace_now(store, claim(id_of(1), house.clock.now(), *one)));
  CHECK(owner_alive(store, id_of(1)));
  store.leave_instance(*one);
  CHECK(!owner_alive(store, id_of(1)));
  CHECK(store.heartbeat(*one) == false);
  store.leave_instance(*one);
  // Only of a record in flight is there an owner to be alive.
  const auto again = store.join_instance();
  auto done = settle(claimed, "x", house.clock.now());
  done.next->owner = *again;
  CHECK(!replace_now(store, done)->found.owner_alive);
  CHECK(!owner_alive(store, id_of(1)));
}

inline void orphans_are_found(StoreHouse& house) {
  Store& store = house.store();
  const auto living = store.join_instance();
  const auto leaving = store.join_instance();
  REQUIRE((living && leaving));
  auto mine = claim(id_of(1), house.clock.now(), *living);
  swapped(replace_now(store, mine));
  for (std::uint64_t i = 2; i < 5; ++i) {
    auto write = claim(id_of(i), house.clock.now(), *leaving);
    write.next->answer = answer_of("earlier");
    write.next->request =
        std::make_shared<const StoredRequest>(StoredRequest{"t", "", "", "b", ""});
    swapped(replace_now(store, write));
  }
  auto settled = claim(id_of(5), house.clock.now(), *leaving);
  settled.next->state = State::in_doubt;
  swapped(replace_now(store, settled));

  CHECK(store.orphans(100)->empty());
  store.leave_instance(*leaving);
  const auto lost = store.orphans(100);
  REQUIRE(lost);
  REQUIRE(lost->size() == 3);
  for (const auto& record : *lost) {
    CHECK(record.owner == *leaving);
    check_same(record, *load_now(store, record.id)->record);  // whole: it can be written back
  }
  CHECK(store.orphans(2)->size() == 2);
  CHECK(store.orphans(0)->empty());

  // Past its ownerless_at a record is lost though its owner lives.
  for (int i = 0; i < 22; ++i) {
    house.clock.advance(seconds(5));
    CHECK(store.heartbeat(*living) == true);
  }
  CHECK(store.orphans(100)->size() == 4);
}

inline void the_secret_and_the_rest(StoreHouse& house) {
  CHECK(house.store().secret().size() == 32);
  CHECK(house.store().secret() != std::string(32, '\0'));
  CHECK(house.store().check_writable());
}

}  // namespace contract

struct ContractCase {
  const char* name;
  void (*run)(StoreHouse&);
};

inline const std::vector<ContractCase>& store_contract() {
  using namespace contract;
  static const std::vector<ContractCase> cases = {
      {"every field is kept", every_field_is_kept},
      {"nothing is found of an unknown id", nothing_is_found_of_an_unknown_id},
      {"a conflict tells what is there", a_conflict_tells_what_is_there_and_writes_nothing},
      {"given claim and generation are kept", given_claim_and_generation_are_kept},
      {"counts move by add alone", counts_move_by_add_alone},
      {"an execution that never left counts as unsent",
       an_execution_that_never_left_is_counted_as_unsent},
      {"counts before a reset are forgotten", counts_before_a_reset_or_delete_are_forgotten},
      {"deleted records leave no version", deleted_records_leave_no_version_behind},
      {"history keeps the latest", history_keeps_the_latest},
      {"expired records are still found", expired_records_are_still_found},
      {"what is recalled stands", what_is_recalled_stands},
      {"one of many claims wins", one_of_many_claims_wins},
      {"counts and swaps lose nothing", counts_and_swaps_in_parallel_lose_nothing},
      {"versions are never given twice", versions_are_never_given_twice},
      {"scan gives the newest first", scan_gives_the_newest_first_in_pages},
      {"scan filters", scan_filters},
      {"a tail misses nothing", a_tail_misses_nothing},
      {"stats sum by route", stats_sum_by_route},
      {"reap takes what has expired", reap_takes_what_has_expired},
      {"a lease stands until it lapses", a_lease_stands_until_it_lapses},
      {"who leaves is dead at once", who_leaves_is_dead_at_once},
      {"orphans are found", orphans_are_found},
      {"the secret and the rest", the_secret_and_the_rest},
  };
  return cases;
}

// Each case on a fresh house.
inline void keep_store_contract(const std::function<std::unique_ptr<StoreHouse>()>& make) {
  for (const auto& each : store_contract()) {
    CAPTURE(each.name);
    const auto house = make();
    each.run(*house);
  }
}

}  // namespace ledger::test
