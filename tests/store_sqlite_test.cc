// What the SQLite store promises beyond the contract: group commit, restarts, several stores on one
// file, an orderly end.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <barrier>
#include <thread>

#include "store/owner_locks.h"
#include "store/sqlite.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

struct House {
  std::unique_ptr<SqliteStore> open(bool create = true) {
    SqliteOptions options;
    options.create = create;
    options.clock = clock.clock();
    options.counts_delay = milliseconds(5);
    auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE_MESSAGE(opened, opened.error().message);
    return std::move(*opened);
  }
  TempFolder folder;
  ManualClock clock;
};

// Keeps the store's writer busy until opened.
class Gate {
 public:
  Gate(Store& store, const Digest& id, Instant now) {
    store.replace(claim(id, now), [this](const ReplaceResult&) {
      entered_.set_value();
      open_.get_future().wait();
      left_.set_value();
    });
    entered_.get_future().wait();
  }
  void open() { open_.set_value(); }
  ~Gate() { left_.get_future().wait(); }

 private:
  std::promise<void> entered_, open_, left_;
};

TEST_CASE("group commit: what is queued together is committed together") {
  House house;
  auto store = house.open();
  std::vector<std::future<ReplaceResult>> all;
  std::uint64_t commits = 0;
  {
    Gate gate(*store, id_of(0), house.clock.now());
    commits = store->metrics().commits;
    for (std::uint64_t i = 1; i <= 600; ++i)
      all.push_back(replace_async(*store, claim(id_of(i), house.clock.now())));
    gate.open();
  }
  for (auto& each : all) swapped(each.get());
  CHECK(store->metrics().commits - commits == 3);  // of at most 256 each
  CHECK(store->metrics().swaps == 601);
}

TEST_CASE("a batch of conflicts costs no commit") {
  House house;
  auto store = house.open();
  swapped(replace_now(*store, claim(id_of(1), house.clock.now())));
  const auto commits = store->metrics().commits.load();
  for (int i = 0; i < 10; ++i)
    CHECK(!replace_now(*store, claim(id_of(1), house.clock.now()))->swapped);
  CHECK(store->metrics().commits == commits);
  CHECK(store->metrics().conflicts == 10);
}

TEST_CASE("records, secret and versions outlive a restart, deletes included") {
  House house;
  auto store = house.open();
  const auto secret = store->secret();
  auto kept = swapped(replace_now(*store, claim(id_of(1), house.clock.now())));
  kept = swapped(replace_now(*store, settle(kept, "body", house.clock.now())));
  const auto doomed = swapped(replace_now(*store, claim(id_of(2), house.clock.now())));
  swapped(replace_now(*store, deletion(id_of(2), doomed.version)));
  store.reset();

  store = house.open(false);
  CHECK(store->secret() == secret);
  check_same(*load_now(*store, id_of(1))->record, kept);
  const auto again = swapped(replace_now(*store, claim(id_of(2), house.clock.now())));
  CHECK(again.version > doomed.version);
  CHECK(again.generation > doomed.generation);
}

TEST_CASE("counts are written when the store closes") {
  House house;
  auto store = house.open();
  swapped(replace_now(*store, claim(id_of(1), house.clock.now())));
  bool done = false;
  store->count({{id_of(1), {4, 0, 4, 0}}}, [&] { done = true; });
  store.reset();
  CHECK(done);
  store = house.open();
  CHECK(load_now(*store, id_of(1))->record->counts.attempts == 5);
}

TEST_CASE("at the end every call that was made is answered once") {
  House house;
  auto store = house.open();
  std::atomic<int> answered{0}, refused{0};
  std::promise<void> entered, go_on;
  Store* closing = store.get();
  store->replace(claim(id_of(0), house.clock.now()), [&](const ReplaceResult&) {
    entered.set_value();
    go_on.get_future().wait();
  });
  entered.get_future().wait();
  for (std::uint64_t i = 1; i <= 300; ++i) {
    store->replace(claim(id_of(i), house.clock.now()), [&, i](const ReplaceResult& result) {
      if (result && result->swapped) ++answered;
      // Some of these find the store closing.
      closing->replace(claim(id_of(i + 1000), house.clock.now()),
                       [&](const ReplaceResult& more) { more ? ++answered : ++refused; });
    });
    store->load(id_of(i), [&](const LoadResult& result) { result ? ++answered : ++refused; });
    store->count({{id_of(i), {1, 0, 0, 0}}}, [&] { ++answered; });
  }
  std::thread ending([&] { store.reset(); });
  go_on.set_value();
  ending.join();
  CHECK(answered + refused == 4 * 300);
  CHECK(answered >= 3 * 300);
}

TEST_CASE("two stores on one file see each other's writes at once") {
  House house;
  auto one = house.open();
  auto two = house.open();
  CHECK(one->secret() == two->secret());
  const auto instance = one->join_instance();
  REQUIRE(instance);
  const auto claimed = swapped(replace_now(*one, claim(id_of(1), house.clock.now(), *instance)));
  const auto conflict = replace_now(*two, claim(id_of(1), house.clock.now()));
  REQUIRE(conflict);
  CHECK(!conflict->swapped);
  CHECK(conflict->found.owner_alive);
  check_same(*conflict->found.record, claimed);
  const auto next = swapped(replace_now(*two, claim(id_of(2), house.clock.now())));
  CHECK(next.version > claimed.version);
  CHECK(load_now(*one, id_of(2))->record);
  CHECK(two->orphans(10)->size() == 1);  // id 2's owner never joined

  one.reset();  // without leaving: its lock goes with it
  CHECK(!load_now(*two, id_of(1))->owner_alive);
  CHECK(two->orphans(10)->size() == 2);
}

TEST_CASE("two stores racing for the same keys: one winner each, versions unique") {
  House house;
  std::unique_ptr<SqliteStore> stores[] = {house.open(), house.open()};
  constexpr std::uint64_t keys = 100;
  std::atomic<int> wins{0};
  std::mutex mutex;
  std::vector<std::uint64_t> versions;
  std::barrier start(2);
  auto work = [&](Store& store) {
    start.arrive_and_wait();
    std::vector<std::future<ReplaceResult>> all;
    for (std::uint64_t i = 0; i < keys; ++i)
      all.push_back(replace_async(store, claim(id_of(i), house.clock.now())));
    for (auto& each : all) {
      const auto result = each.get();
      if (!result || !result->swapped) continue;
      ++wins;
      std::lock_guard guard(mutex);
      versions.push_back(result->found.record->version);
    }
  };
  std::thread other([&] { work(*stores[1]); });
  work(*stores[0]);
  other.join();
  CHECK(wins == keys);
  std::sort(versions.begin(), versions.end());
  CHECK(std::adjacent_find(versions.begin(), versions.end()) == versions.end());
}

TEST_CASE("a lock held by another process is an error that says so, and passes") {
  House house;
  SqliteOptions options;
  options.busy_wait = milliseconds(20);
  auto store = std::move(*SqliteStore::open(house.folder.file(), options));
  sqlite3* shell = nullptr;
  REQUIRE(sqlite3_open(house.folder.file().c_str(), &shell) == SQLITE_OK);
  REQUIRE(sqlite3_exec(shell, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const auto locked = replace_now(*store, claim(id_of(1), house.clock.now()));
  REQUIRE(!locked);
  CHECK(!locked.error().unknown);
  CHECK(locked.error().message.find("locked by another process") != std::string::npos);
  CHECK(!load_now(*store, id_of(1))->record);  // reading goes on
  sqlite3_close(shell);
  swapped(replace_now(*store, claim(id_of(1), house.clock.now())));
}

TEST_CASE("a heartbeat gets through a queue that never empties") {
  House house;
  auto store = house.open();
  const auto instance = store->join_instance();
  REQUIRE(instance);
  std::atomic<bool> renewed{false};
  std::atomic<std::uint64_t> number{1};
  std::atomic<int> running{1000};
  std::promise<void> over;
  std::function<void()> more = [&] {
    if (renewed) {
      if (--running == 0) over.set_value();
      return;
    }
    store->replace(claim(id_of(number++), house.clock.now()),
                   [&](const ReplaceResult&) { more(); });
  };
  for (int i = 0; i < 1000; ++i) more();
  CHECK(store->heartbeat(*instance) == true);
  renewed = true;
  over.get_future().wait();
}

TEST_CASE("a lock file that was removed is no sign of life") {
  House house;
  auto store = house.open();
  const auto instance = store->join_instance();
  REQUIRE(instance);
  swapped(replace_now(*store, claim(id_of(1), house.clock.now(), *instance)));
  std::filesystem::remove(house.folder.file() + ".owners");
  CHECK(!load_now(*store, id_of(1))->owner_alive);
  CHECK(store->heartbeat(*instance) == false);
  const auto again = store->join_instance();
  REQUIRE(again);
  CHECK(store->heartbeat(*again) == true);
  CHECK(!load_now(*store, id_of(1))->owner_alive);
}

TEST_CASE("owner locks") {
  TempFolder folder;
  OwnerLocks one(folder.file("owners")), two(folder.file("owners"));
  CHECK(!one.held(1));
  REQUIRE(one.lock(1));
  REQUIRE(one.lock(2));
  CHECK(one.held(1));
  CHECK(two.held(1));
  CHECK(!two.held(3));
  const auto taken = two.lock(1);
  REQUIRE(!taken);
  CHECK(taken.error().find(folder.file("owners")) != std::string::npos);
  one.unlock(1);
  CHECK(!two.held(1));
  CHECK(two.held(2));
}

std::int64_t instance_rows(const std::string& path) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(db, "SELECT count(*) FROM instances", -1, &statement, nullptr) == 0);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
  const auto rows = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return rows;
}

TEST_CASE("rows of dead instances go once nothing in flight names them") {
  House house;
  auto store = house.open();
  Record claimed;
  {
    auto other = house.open();
    const auto instance = other->join_instance();
    REQUIRE(instance);
    REQUIRE(other->join_instance());
    claimed = swapped(replace_now(*other, claim(id_of(1), house.clock.now(), *instance)));
    CHECK(instance_rows(house.folder.file()) == 2);
  }
  CHECK(store->reap(10) == 0u);
  CHECK(instance_rows(house.folder.file()) == 1);
  swapped(replace_now(*store, settle(claimed, "x", house.clock.now())));
  CHECK(store->reap(10) == 0u);
  CHECK(instance_rows(house.folder.file()) == 0);
}

}  // namespace
}  // namespace ledger::test
