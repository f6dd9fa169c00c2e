// The SQLite store on a disk that is full, failing, or slow: nothing is reported that is not so.
#include <fstream>
#include <thread>

#include "store/sqlite.h"
#include "tests/store_fault_vfs.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

struct DiskHouse {
  DiskHouse() { FaultVfs::get().reset(); }
  ~DiskHouse() { FaultVfs::get().reset(); }

  std::unique_ptr<SqliteStore> open() {
    SqliteOptions options;
    options.vfs = FaultVfs::name;
    options.pages_max = pages_max;
    options.counts_delay = milliseconds(5);
    auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE_MESSAGE(opened, opened.error().message);
    return std::move(*opened);
  }

  TempFolder folder;
  std::uint64_t pages_max = 0;
  FaultVfs& disk = FaultVfs::get();
};

bool mentions(const StoreError& error, const std::string& word) {
  return error.message.find(word) != std::string::npos;
}

TEST_CASE("a full disk: nothing is swapped, nothing is lost, and it goes on when there is space") {
  DiskHouse house;
  auto store = house.open();
  const auto before = swapped(replace_now(*store, claim(id_of(1), store->now())));

  house.disk.fail_log_writes = SQLITE_FULL;
  std::vector<std::future<ReplaceResult>> all;
  for (std::uint64_t i = 2; i < 20; ++i)
    all.push_back(replace_async(*store, claim(id_of(i), store->now())));
  all.push_back(replace_async(*store, settle(before, "x", store->now())));
  for (auto& each : all) {
    const auto result = each.get();
    REQUIRE(!result);
    CHECK(!result.error().unknown);
    CHECK(mentions(result.error(), "full"));
    CHECK(mentions(result.error(), house.folder.file()));
  }
  const auto unwritable = store->check_writable();
  REQUIRE(!unwritable);
  CHECK(mentions(unwritable.error(), "full"));
  check_same(*load_now(*store, id_of(1))->record, before);
  CHECK(!load_now(*store, id_of(2))->record);

  house.disk.reset();
  CHECK(store->check_writable());
  swapped(replace_now(*store, settle(before, "x", store->now())));
  swapped(replace_now(*store, claim(id_of(2), store->now())));
  store.reset();
  store = house.open();
  CHECK(load_now(*store, id_of(1))->record->answer->body == "x");
  CHECK(load_now(*store, id_of(2))->record);
}

TEST_CASE("counts outlive a full disk") {
  DiskHouse house;
  auto store = house.open();
  swapped(replace_now(*store, claim(id_of(1), store->now())));
  house.disk.fail_log_writes = SQLITE_FULL;
  std::promise<void> written;
  store->count({{id_of(1), {7, 0, 7, 0}}}, [&] { written.set_value(); });
  CHECK(!store->check_writable());
  CHECK(!store->check_writable());
  house.disk.reset();
  written.get_future().get();
  CHECK(load_now(*store, id_of(1))->record->counts.attempts == 8);
}

TEST_CASE("an fsync that fails leaves the outcome unknown, and the store stops") {
  DiskHouse house;
  auto store = house.open();
  const auto before = swapped(replace_now(*store, claim(id_of(1), store->now())));
  const auto instance = store->join_instance();

  house.disk.fail_log_syncs = SQLITE_IOERR_FSYNC;
  const auto lost = replace_now(*store, claim(id_of(2), store->now()));
  REQUIRE(!lost);
  CHECK(lost.error().unknown);
  CHECK(mentions(lost.error(), "disk failed"));

  // Even if the disk pretends to be well again: the kernel may have dropped what it did not write.
  house.disk.reset();
  const auto later = replace_now(*store, claim(id_of(3), store->now()));
  REQUIRE(!later);
  CHECK(!later.error().unknown);
  CHECK(mentions(later.error(), "restart"));
  CHECK(!store->check_writable());
  CHECK(!store->heartbeat(*instance));
  CHECK(!store->reap(10));
  count_now(*store, {{id_of(1), {1, 0, 0, 0}}});  // dropped, but `done` is called
  check_same(*load_now(*store, id_of(1))->record, before);

  // The next start reads the log again. What was known to be written is there.
  store.reset();
  store = house.open();
  check_same(*load_now(*store, id_of(1))->record, before);
  CHECK(!load_now(*store, id_of(3))->record);
  CHECK(store->check_writable());
}

TEST_CASE("a write error within a commit is unknown too") {
  DiskHouse house;
  auto store = house.open();
  house.disk.fail_log_writes = SQLITE_IOERR_WRITE;
  const auto lost = replace_now(*store, claim(id_of(2), store->now()));
  REQUIRE(!lost);
  CHECK(lost.error().unknown);
  CHECK(!store->check_writable());
}

TEST_CASE("one record that does not fit does not take the others of its batch down") {
  DiskHouse house;
  house.pages_max = 200;
  auto store = house.open();
  // Held in its `done`, the writer lets the rest gather into one batch.
  std::promise<void> in_done, go_on;
  store->replace(claim(id_of(0), store->now()), [&](const ReplaceResult&) {
    in_done.set_value();
    go_on.get_future().wait();
  });
  in_done.get_future().wait();
  std::vector<std::future<ReplaceResult>> all;
  for (std::uint64_t i = 1; i < 20; ++i) {
    auto write = claim(id_of(i), store->now());
    if (i == 7) write.next->answer = answer_of(std::string(2'000'000, 'x'));
    all.push_back(replace_async(*store, std::move(write)));
  }
  go_on.set_value();
  for (std::uint64_t i = 1; i < 20; ++i) {
    const auto result = all[i - 1].get();
    CHECK(result.has_value() == (i != 7));
    CHECK(bool(load_now(*store, id_of(i))->record) == (i != 7));
  }
}

TEST_CASE("a transaction goes to the log in one write, one of many pages in few") {
  DiskHouse house;
  auto store = house.open();
  swapped(replace_now(*store, claim(id_of(1), store->now())));
  house.disk.log_writes = 0;
  const auto before = swapped(replace_now(*store, claim(id_of(2), store->now())));
  CHECK(house.disk.log_writes == 1);
  const auto body = std::string(1'000'000, 'x');  // 244 pages
  swapped(replace_now(*store, settle(before, body, store->now())));
  CHECK(house.disk.log_writes > 2);
  CHECK(house.disk.log_writes < 16);
  CHECK(load_now(*store, id_of(2))->record->answer->body == body);
}

TEST_CASE("nothing of a transaction that failed comes out over another process's") {
  DiskHouse house;
  auto one = house.open(), other = house.open();
  for (const auto& body : {std::string(100, 'x'), std::string(1'000'000, 'x')}) {
    const auto unlucky = id_of(body.size()), lucky = id_of(body.size() + 1);
    const auto before = swapped(replace_now(*one, claim(unlucky, one->now())));
    house.disk.fail_log_writes = SQLITE_FULL;
    CHECK(!replace_now(*one, settle(before, body, one->now())));
    house.disk.fail_log_writes = SQLITE_OK;
    const auto theirs = swapped(replace_now(*other, claim(lucky, other->now())));
    swapped(replace_now(*one, settle(before, body, one->now())));
    swapped(replace_now(*other, settle(theirs, body, other->now())));
  }
  one.reset();
  other.reset();
  auto store = house.open();
  const auto all = store->scan({});
  CHECK(all->records.size() == 4);
  for (const auto& record : all->records) CHECK(record.state == State::completed);
}

TEST_CASE("a VFS that there is not is refused") {
  TempFolder folder;
  SqliteOptions options;
  options.vfs = "nowhere";
  for (int i = 0; i < 2; ++i) {
    const auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE(!opened);
    CHECK(mentions(opened.error(), "no such vfs"));
  }
}

TEST_CASE("a load does not wait for an fsync") {
  DiskHouse house;
  auto store = house.open();
  const auto before = swapped(replace_now(*store, claim(id_of(1), store->now())));
  house.disk.hold_syncs(true);
  auto writing = replace_async(*store, settle(before, "x", store->now()));
  house.disk.wait_until_a_sync_is_held();
  check_same(*load_now(*store, id_of(1))->record, before);
  CHECK(store->scan({})->records.size() == 1);
  house.disk.reset();
  swapped(writing.get());
  CHECK(load_now(*store, id_of(1))->record->state == State::completed);
}

TEST_CASE("what is queued while an fsync runs shares the next one") {
  DiskHouse house;
  auto store = house.open();
  house.disk.hold_syncs(true);
  auto first = replace_async(*store, claim(id_of(0), store->now()));
  house.disk.wait_until_a_sync_is_held();
  const auto commits = store->metrics().commits.load();
  std::vector<std::future<ReplaceResult>> rest;
  for (std::uint64_t i = 1; i <= 200; ++i)
    rest.push_back(replace_async(*store, claim(id_of(i), store->now())));
  house.disk.reset();
  swapped(first.get());
  for (auto& each : rest) swapped(each.get());
  CHECK(store->metrics().commits.load() - commits == 2);
}

}  // namespace
}  // namespace ledger::test
