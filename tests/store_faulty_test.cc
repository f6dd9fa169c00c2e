#include "store/faulty.h"
#include "store/memory.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

struct FaultyHouse {
  ManualClock clock;
  std::unique_ptr<Store> inner = make_memory_store(clock.clock());
  FaultyStore store{*inner};
};

TEST_CASE("faults strike the call that they were meant for, once") {
  FaultyHouse house;
  house.store.on_replace(2, Fault::fail);
  house.store.on_replace(3, Fault::lose_outcome);
  house.store.on_replace(4, Fault::unknown);
  house.store.on_load(1, Fault::fail);
  const auto now = house.clock.now();
  swapped(replace_now(house.store, claim(id_of(1), now)));

  const auto failed = replace_now(house.store, claim(id_of(2), now));
  REQUIRE(!failed);
  CHECK(!failed.error().unknown);
  CHECK(!load_now(*house.inner, id_of(2))->record);

  const auto lost = replace_now(house.store, claim(id_of(3), now));
  REQUIRE(!lost);
  CHECK(lost.error().unknown);
  CHECK(load_now(*house.inner, id_of(3))->record);

  const auto unknown = replace_now(house.store, claim(id_of(4), now));
  REQUIRE(!unknown);
  CHECK(unknown.error().unknown);
  CHECK(!load_now(*house.inner, id_of(4))->record);

  CHECK(!load_now(house.store, id_of(1)));
  CHECK(load_now(house.store, id_of(1)));
  swapped(replace_now(house.store, claim(id_of(2), now)));
  CHECK(house.store.replaces() == 5);
  CHECK(house.store.loads() == 2);
}

TEST_CASE("what is held waits for its release") {
  FaultyHouse house;
  house.store.on_replace(1, Fault::hold_before);
  house.store.on_replace(2, Fault::hold_after);
  house.store.on_load(1, Fault::hold_after);
  house.store.on_load(2, Fault::hold_before);
  std::vector<std::string> order;
  const auto note = [&](const char* what) {
    return [&order, what](const auto& result) {
      order.push_back(std::string(what) + (result ? "" : " failed"));
    };
  };
  house.store.replace(claim(id_of(1), house.clock.now()), note("first"));
  house.store.replace(claim(id_of(2), house.clock.now()), note("second"));
  house.store.load(id_of(2), note("load after"));
  house.store.load(id_of(2), note("load before"));
  CHECK(order.empty());
  CHECK(house.store.held() == 4);
  CHECK(!load_now(*house.inner, id_of(1))->record);  // not yet written
  CHECK(load_now(*house.inner, id_of(2))->record);   // written, not yet told
  CHECK(house.store.release() == 4);
  CHECK(order == std::vector<std::string>{"first", "second", "load after", "load before"});
  CHECK(load_now(*house.inner, id_of(1))->record);
  CHECK(house.store.release() == 0);
}

TEST_CASE("a dead disk fails all that writes, until it is well") {
  FaultyHouse house;
  const auto instance = house.store.join_instance();
  REQUIRE(instance);
  house.store.fail_writes(true);
  CHECK(!replace_now(house.store, claim(id_of(1), house.clock.now())));
  CHECK(!house.store.heartbeat(*instance));
  CHECK(!house.store.join_instance());
  CHECK(!house.store.check_writable());
  CHECK(!house.store.reap(1));
  count_now(house.store, {{id_of(1), {1, 0, 0, 0}}});
  CHECK(load_now(house.store, id_of(1)));
  house.store.fail_writes(false);
  CHECK(house.store.heartbeat(*instance) == true);
  CHECK(house.store.check_writable());
  swapped(replace_now(house.store, claim(id_of(1), house.clock.now())));
}

TEST_CASE("a faulty store that ends lets go of what it holds") {
  ManualClock clock;
  const auto inner = make_memory_store(clock.clock());
  bool done = false;
  {
    FaultyStore store(*inner);
    store.on_replace(1, Fault::hold_after);
    store.replace(claim(id_of(1), clock.now()),
                  [&](ReplaceResult result) { done = result && result->swapped; });
    CHECK(!done);
  }
  CHECK(done);
}

}  // namespace
}  // namespace ledger::test
