// What every store must do, as tests that run against each of them: the contract of store/store.h.
// A new backend writes a StoreHouse and calls keep_store_contract().
#pragma once

#include <algorithm>
#include <barrier>
#include <functional>
#include <set>
#include <thread>

#include "tests/store_support.h"

namespace ledger::test {

// A store that was just made, empty, on the clock of the house.
struct StoreHouse {
  virtual ~StoreHouse() = default;
  virtual Store& store() = 0;
  ManualClock clock;
};

namespace contract {

inline std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes + "\\\t\n\\n tail";
}

inline void every_field_is_kept(StoreHouse& house) {
  const auto now = house.clock.now();
  auto write = claim(id_of(1), now, "someone");
  Record& next = *write.next;
  next.state = State::in_doubt;
  next.key_source = KeySource::idempotency_key;
  next.effects = 3;
  next.tainted = true;
  next.closed_at = now + milliseconds(4);
  next.updated_at = now + milliseconds(1);
  next.first_sent_at = now + milliseconds(2);
  next.expires_at = now + seconds(5);
  next.ttl = milliseconds(1234);
  Answer answer{502,
                "Bad \t Gateway",
                {{"A", "1"}, {"A", "2"}, {"B", all_bytes()}, {"C", ""}},
                all_bytes(),
                false,
                now + milliseconds(3)};
  next.answer = std::make_shared<const Answer>(answer);
  next.request = std::make_shared<const StoredRequest>(StoredRequest{
      "https://x.test/?q=1", "text/plain", "gzip", all_bytes(), "https://x.test/?r=1"});
  next.history = {{now, "claimed", ""}, {now + seconds(1), "in_doubt", "line\nbreak\tand \\tab"}};
  const auto stands = swapped(replace_now(house.store(), write));
  CHECK(stands.version > 0);
  CHECK(stands.claim_version == stands.version);
  CHECK(stands.generation == stands.version);
  const auto found = load_now(house.store(), id_of(1));
  REQUIRE((found && found->record));
  check_same(*found->record, stands);
  CHECK(found->record->answer->body == all_bytes());
  CHECK(found->record->history.size() == 2);

  // And when all of it is taken away again.
  Replace bare;
  bare.id = id_of(1);
  bare.expected_version = stands.version;
  bare.next = Record{};
  const auto after = swapped(replace_now(house.store(), bare));
  const auto again = load_now(house.store(), id_of(1));
  REQUIRE((again && again->record));
  check_same(*again->record, after);
  CHECK(!again->record->answer);
  CHECK(!again->record->request);
  CHECK(!again->record->expires_at);
  CHECK(!again->record->ttl);
}

inline void nothing_is_found_of_an_unknown_id(StoreHouse& house) {
  const auto found = load_now(house.store(), id_of(404));
  REQUIRE(found);
  CHECK(!found->record);
  CHECK(!found->owner_alive);
  CHECK(found->now == house.clock.now());
  CHECK(house.store().now() == house.clock.now());
}

inline void a_conflict_tells_what_is_there_and_writes_nothing(StoreHouse& house) {
  Store& store = house.store();
  auto first = claim(id_of(1), house.clock.now());
  first.next->request =
      std::make_shared<const StoredRequest>(StoredRequest{"t", "c", "e", "body", ""});
  const auto claimed = swapped(replace_now(store, first));
  const auto settled = swapped(replace_now(store, settle(claimed, "first", house.clock.now())));
  CHECK(settled.version > claimed.version);
  CHECK(settled.claim_version == claimed.version);
  CHECK(settled.generation == claimed.generation);

  house.clock.advance(milliseconds(10));
  const std::uint64_t wrong[] = {0, claimed.version, settled.version + 1};
  for (auto version : wrong) {
    auto late = settle(claimed, "late", house.clock.now());
    late.expected_version = version;
    late.add = {5, 5, 5, 5};
    const auto result = replace_now(store, late);
    REQUIRE(result);
    CHECK(!result->swapped);
    CHECK(result->found.now == house.clock.now());
    REQUIRE(result->found.record);
    check_same(*result->found.record, settled);
    CHECK(result->found.record->answer->body == "first");
    CHECK(result->found.record->request->body == "body");
  }
  // An expected version where nothing is.
  auto nowhere = claim(id_of(2), house.clock.now());
  nowhere.expected_version = 1;
  const auto result = replace_now(store, nowhere);
  REQUIRE(result);
  CHECK(!result->swapped);
  CHECK(!result->found.record);
}

inline void given_claim_and_generation_are_kept(StoreHouse& house) {
  Store& store = house.store();
  const auto first = swapped(replace_now(store, claim(id_of(1), house.clock.now())));
  Replace again{id_of(1), first.version, first, {}, false};
  again.next->claim_version = 0;  // sent again: a new claim of the same generation
  const auto retried = swapped(replace_now(store, again));
  CHECK(retried.claim_version == retried.version);
  CHECK(retried.generation == first.generation);
  again = Replace{id_of(1), retried.version, retried, {}, false};
  again.next->claim_version = again.next->generation = 0;
  const auto fresh = swapped(replace_now(store, again));
  CHECK(fresh.generation == fresh.version);
  CHECK(fresh.generation > first.generation);
}

inline void counts_move_by_add_alone(StoreHouse& house) {
  Store& store = house.store();
  auto write = claim(id_of(1), house.clock.now());
  write.next->counts = {70, 70, 70, 70};  // not written
  write.add = {1, 2, 3, 4};
  auto record = swapped(replace_now(store, write));
  CHECK(record.counts.attempts == 1);
  count_now(store, {{id_of(1), {10, 0, 5, 0}}, {id_of(1), {1, 0, 0, 1}}, {id_of(9), {1, 1, 1, 1}}});
  Replace more{id_of(1), record.version, record, {100, 0, 0, 0}, false};
  record = swapped(replace_now(store, more));
  CHECK(record.counts.attempts == 112);
  CHECK(record.counts.executed == 2);
  CHECK(record.counts.replayed == 8);
  CHECK(record.counts.joined == 5);
  CHECK(!load_now(store, id_of(9))->record);

  const auto before = load_now(store, id_of(1))->record;
  count_now(store, {{id_of(1), {1, 0, 0, 0}}});
  const auto counted = load_now(store, id_of(1))->record;
  CHECK(counted->version == before->version);
  CHECK(counted->updated_at == before->updated_at);
  CHECK(counted->counts.attempts == 113);
}

inline void an_execution_that_never_left_is_counted_as_unsent(StoreHouse& house) {
  Store& store = house.store();
  auto record = swapped(replace_now(store, claim(id_of(1), house.clock.now())));
  Replace release{id_of(1), record.version, record, {}, false};
  release.unsent = true;
  release.next->state = State::released;
  record = swapped(replace_now(store, release));
  count_now(store, {{id_of(1), {.attempts = 1, .mismatched = 3}}});
  const auto counts = load_now(store, id_of(1))->record->counts;
  CHECK(counts.attempts == 2);
  CHECK(counts.executed == 0);
  CHECK(counts.unsent == 1);
  CHECK(counts.mismatched == 3);
  CHECK(counts.blocked() == 1);
  // Where nothing counts as executed, nothing moves.
  Replace again{id_of(1), record.version, record, {}, true};
  again.unsent = true;
  record = swapped(replace_now(store, again));
  CHECK(record.counts.executed == 0);
  CHECK(record.counts.unsent == 0);
}

inline void counts_before_a_reset_or_delete_are_forgotten(StoreHouse& house) {
  Store& store = house.store();
  auto record = swapped(replace_now(store, claim(id_of(1), house.clock.now())));
  store.count({{id_of(1), {1000, 0, 0, 0}}}, {});
  Replace reset{id_of(1), record.version, record, {1, 1, 0, 0}, true};
  record = swapped(replace_now(store, reset));
  CHECK(record.counts.attempts == 1);
  store.count({{id_of(1), {500, 0, 0, 0}}}, {});
  swapped(replace_now(store, deletion(id_of(1), record.version)));
  swapped(replace_now(store, claim(id_of(1), house.clock.now())));
  count_now(store, {{id_of(1), {1, 0, 0, 0}}});
  CHECK(load_now(store, id_of(1))->record->counts.attempts == 2);
  // A reset that conflicts loses no count.
  store.count({{id_of(1), {40, 0, 0, 0}}}, {});
  CHECK(!replace_now(store, reset)->swapped);
  count_now(store, {});
  CHECK(load_now(store, id_of(1))->record->counts.attempts == 42);
}

inline void deleted_records_leave_no_version_behind(StoreHouse& house) {
  Store& store = house.store();
  std::uint64_t last = 0;
  for (int round = 0; round < 5; ++round) {
    const auto record = swapped(replace_now(store, claim(id_of(1), house.clock.now())));
    CHECK(record.version > last);
    CHECK(record.generation > last);
    last = record.version;
    CHECK(!replace_now(store, deletion(id_of(1), record.version + 1))->swapped);
    const auto gone = replace_now(store, deletion(id_of(1), record.version));
    REQUIRE((gone && gone->swapped));
    CHECK(!gone->found.record);
    CHECK(!load_now(store, id_of(1))->record);
    // The late owner of what was deleted.
    auto late = settle(record, "late", house.clock.now());
    CHECK(!replace_now(store, late)->swapped);
  }
  CHECK(replace_now(store, deletion(id_of(1), 0))->swapped);  // must not exist, and does not
}

inline void history_keeps_the_latest(StoreHouse& house) {
  auto write = claim(id_of(1), house.clock.now());
  write.next->history.clear();
  for (int i = 0; i < 100; ++i)
    write.next->history.push_back({house.clock.now(), "event " + std::to_string(i), ""});
  const auto stands = swapped(replace_now(house.store(), write));
  REQUIRE(stands.history.size() == 32);
  CHECK(stands.history.front().event == "event 68");
  check_same(*load_now(house.store(), id_of(1))->record, stands);
}

inline void expired_records_are_still_found(StoreHouse& house) {
  auto write = claim(id_of(1), house.clock.now());
  write.next->state = State::completed;
  write.next->expires_at = house.clock.now() + seconds(1);
  swapped(replace_now(house.store(), write));
  house.clock.advance(seconds(1));
  const auto found = load_now(house.store(), id_of(1));
  REQUIRE((found && found->record));
  CHECK(found->record->expired(found->now));
}

// --- many at once ------------------------------------------------------------------------------

inline void in_threads(int threads, const std::function<void(int)>& work) {
  std::barrier start(threads);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i)
    running.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  for (auto& thread : running) thread.join();
}

inline void one_of_many_claims_wins(StoreHouse& house) {
  Store& store = house.store();
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::atomic<int> winners{0};
    std::atomic<int> told_the_winner{0};
    in_threads(8, [&](int thread) {
      const auto mine = "owner-" + std::to_string(thread);
      const auto result = replace_now(store, claim(id_of(round), house.clock.now(), mine));
      if (!result || !result->found.record) return;
      if (result->swapped)
        ++winners;
      else if (result->found.record->owner != mine)
        ++told_the_winner;
    });
    CHECK(winners == 1);
    CHECK(told_the_winner == 7);
  }
}

// Whether a store remembers anything is its own affair.
inline void what_is_recalled_stands(StoreHouse& house) {
  Store& store = house.store();
  const auto id = id_of(1);
  const auto check = [&](bool completed) {
    const auto stands = load_now(store, id);
    const auto recalled = store.recall(id);
    if (!recalled) return;
    CHECK(completed);
    REQUIRE((recalled->record && stands->record));
    CHECK(recalled->record->version == stands->record->version);
    CHECK(recalled->record->state == State::completed);
  };
  for (int round = 0; round < 2; ++round) {
    check(false);
    const auto claimed = swapped(replace_now(store, claim(id, house.clock.now())));
    check(false);
    const auto settled = swapped(replace_now(store, settle(claimed, "done", house.clock.now())));
    for (int again = 0; again < 3; ++again) {
      check(true);
      CHECK(!replace_now(store, claim(id, house.clock.now()))->swapped);
    }
    auto write = settle(settled, "", house.clock.now());
    write.next->state = State::in_doubt;
    const auto doubted = swapped(replace_now(store, std::move(write)));
    check(false);
    CHECK(!replace_now(store, claim(id, house.clock.now()))->swapped);
    check(false);
    CHECK(replace_now(store, deletion(id, doubted.version))->swapped);
  }
}

inline void counts_and_swaps_in_parallel_lose_nothing(StoreHouse& house) {
  Store& store = house.store();
  swapped(replace_now(store, claim(id_of(1), house.clock.now())));
  constexpr int rounds = 50;
  in_threads(4, [&](int thread) {
    for (int i = 0; i < rounds; ++i) {
      if (thread < 2) {
        store.count({{id_of(1), {1, 0, 1, 0}}}, {});
        continue;
      }
      for (;;) {
        const auto found = load_now(store, id_of(1));
        Replace write{id_of(1), found->record->version, found->record, {1, 1, 0, 0}, false};
        if (replace_now(store, std::move(write))->swapped) break;
      }
    }
  });
  count_now(store, {});
  const auto counts = load_now(store, id_of(1))->record->counts;
  CHECK(counts.attempts == 1 + 4 * rounds);
  CHECK(counts.executed == 1 + 2 * rounds);
  CHECK(counts.replayed == 2 * rounds);
}

inline void versions_are_never_given_twice(StoreHouse& house) {
  Store& store = house.store();
  std::mutex mutex;
  std::set<std::uint64_t> versions;
  in_threads(4, [&](int thread) {
    for (std::uint64_t i = 0; i < 50; ++i) {
      const auto id = id_of(static_cast<std::uint64_t>(thread) * 1000 + i);
      const auto result = replace_now(store, claim(id, house.clock.now()));
      std::lock_guard guard(mutex);
      if (result && result->swapped) versions.insert(result->found.record->version);
    }
  });
  CHECK(versions.size() == 200);
}

}  // namespace contract
}  // namespace ledger::test

#include "tests/store_contract_many.h"
