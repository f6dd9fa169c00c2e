// What the SQLite store remembers in memory: only what stands, whichever process changed it last.
#include <random>

#include "store/record_cache.h"
#include "store/sqlite.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

struct House {
  std::unique_ptr<SqliteStore> open() {
    SqliteOptions options;
    options.clock = clock.clock();
    auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE_MESSAGE(opened, opened.error().message);
    return std::move(*opened);
  }
  TempFolder folder;
  ManualClock clock;
};

Record completed(Store& store, const Digest& id, const std::string& body) {
  const auto claimed = swapped(replace_now(store, claim(id, store.now())));
  return swapped(replace_now(store, settle(claimed, body, store.now())));
}

// A first call's claim, which finds what there is.
void ask_again(Store& store, const Digest& id) {
  const auto again = replace_now(store, claim(id, store.now()));
  REQUIRE((again && !again->swapped));
}

TEST_CASE("a completed record that was asked for again is recalled whole") {
  House house;
  auto store = house.open();
  const auto record = completed(*store, id_of(1), "done");
  CHECK(!store->recall(id_of(1)));
  ask_again(*store, id_of(1));
  const auto recalled = store->recall(id_of(1));
  REQUIRE(recalled);
  check_same(*recalled->record, record);
  CHECK(!store->recall(id_of(2)));
}

TEST_CASE("what another store on the file changed or deleted is not recalled") {
  House house;
  auto store = house.open();
  auto other = house.open();
  const auto first = completed(*store, id_of(1), "done");
  ask_again(*store, id_of(1));
  REQUIRE(store->recall(id_of(1)));

  SUBCASE("executed again") {
    auto write = claim(id_of(1), house.clock.now());
    write.expected_version = first.version;
    const auto claimed = swapped(replace_now(*other, std::move(write)));
    CHECK(!store->recall(id_of(1)));
    ask_again(*store, id_of(1));
    CHECK(!store->recall(id_of(1)));  // in flight
    swapped(replace_now(*other, settle(claimed, "done again", house.clock.now())));
    CHECK(!store->recall(id_of(1)));
    ask_again(*store, id_of(1));
    REQUIRE(store->recall(id_of(1)));
    CHECK(store->recall(id_of(1))->record->answer->body == "done again");
  }
  SUBCASE("deleted") {
    REQUIRE(replace_now(*other, deletion(id_of(1), first.version))->swapped);
    CHECK(!store->recall(id_of(1)));
  }
}

TEST_CASE("what is recalled is always what stands, under any changes by two stores") {
  const auto seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  House house;
  std::array<std::unique_ptr<SqliteStore>, 2> stores{house.open(), house.open()};
  int recalled = 0;
  for (int step = 0; step < 2000; ++step) {
    auto& store = *stores[random() % 2];
    const auto id = id_of(random() % 4);
    const auto found = load_now(store, id);
    REQUIRE(found);
    const auto& stands = found->record;
    switch (random() % 8) {
      case 0: {  // a fresh execution, or the end of one
        auto write = stands && stands->state == State::in_flight
                         ? settle(*stands, std::to_string(step), house.clock.now())
                         : claim(id, house.clock.now());
        write.expected_version = stands ? stands->version : 0;
        swapped(replace_now(store, std::move(write)));
        break;
      }
      case 1:
        if (stands && random() % 4 == 0)
          REQUIRE(replace_now(store, deletion(id, stands->version))->swapped);
        break;
      case 2:
      case 3:
        if (stands) ask_again(store, id);
        break;
      default:
        if (const auto known = store.recall(id)) {
          ++recalled;
          REQUIRE(stands);
          CHECK(known->record->version == stands->version);
          CHECK(known->record->state == State::completed);
          CHECK(known->record->answer->body == stands->answer->body);
        }
    }
  }
  CHECK(recalled > 20);
}

TEST_CASE("an answer too long to remember is read each time") {
  House house;
  auto store = house.open();
  completed(*store, id_of(1), std::string(300 * 1024, 'x'));
  ask_again(*store, id_of(1));
  CHECK(!store->recall(id_of(1)));
}

TEST_CASE("memory is bounded: what was asked for long ago is forgotten") {
  House house;
  auto marks = ChangeMarks::open(house.folder.file("marks"));
  REQUIRE(marks);
  RecordCache cache(std::move(marks));
  Found found{Record{}, house.clock.now(), false};
  found.record->state = State::completed;
  found.record->answer = answer_of(std::string(50 * 1024, 'x'));
  std::size_t kept = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) cache.put(id_of(i), cache.mark(id_of(i)), found);
  for (std::uint64_t i = 0; i < 1000; ++i) kept += cache.get(id_of(i)) != nullptr;
  CHECK(kept > 0);
  CHECK(kept <= 32 * 5);  // five to a generation of each shard
}

TEST_CASE("while a change is under way, or its process died in it, nothing is recalled or kept") {
  House house;
  const auto path = house.folder.file("marks");
  auto theirs = ChangeMarks::open(path);
  REQUIRE(theirs);
  RecordCache cache(ChangeMarks::open(path));
  Found found{Record{}, house.clock.now(), false};
  found.record->state = State::completed;
  found.record->answer = answer_of("done");
  const auto keep = [&] { cache.put(id_of(1), cache.mark(id_of(1)), found); };
  keep();
  REQUIRE(cache.get(id_of(1)));

  const auto died = theirs->changing(id_of(1));
  CHECK(!cache.get(id_of(1)));
  keep();
  CHECK(!cache.get(id_of(1)));

  // The next change of a record under that mark mends it, whatever the first does later.
  const auto next = theirs->changing(id_of(1));
  CHECK(next != died);
  theirs->changed(id_of(1), died);
  keep();
  CHECK(!cache.get(id_of(1)));
  theirs->changed(id_of(1), next);
  CHECK(!cache.get(id_of(1)));
  keep();
  CHECK(cache.get(id_of(1)));
}

TEST_CASE("a store whose file of marks was removed recalls nothing after its next heartbeat") {
  House house;
  auto store = house.open();
  const auto instance = store->join_instance();
  REQUIRE(instance);
  completed(*store, id_of(1), "done");
  ask_again(*store, id_of(1));
  REQUIRE(store->recall(id_of(1)));
  std::filesystem::remove(house.folder.file() + ".owners");
  CHECK(store->heartbeat(*instance));
  CHECK(!store->recall(id_of(1)));
}

}  // namespace
}  // namespace ledger::test
