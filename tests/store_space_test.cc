// The store's files stay bounded, whatever goes through them.
#include <filesystem>

#include "store/sqlite.h"
#include "store/sqlite_db.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

struct SpaceHouse {
  explicit SpaceHouse(bool full_durability = false) {
    SqliteOptions options;
    options.full_durability = full_durability;
    options.clock = clock.clock();
    options.checkpoint_bytes = std::uint64_t{256} * 1024;
    auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE_MESSAGE(opened, opened.error().message);
    store = std::move(*opened);
  }

  // Completed records that expire in an hour.
  void add(std::uint64_t from, std::uint64_t count, std::size_t body) {
    std::vector<std::future<ReplaceResult>> all;
    for (auto i = from; i < from + count; ++i) {
      auto write = claim(id_of(i * 0x9e3779b97f4a7c15), clock.now());
      write.next->state = State::completed;
      write.next->answer = answer_of(std::string(body, 'x'));
      write.next->request = std::make_shared<const StoredRequest>(
          StoredRequest{"https://x.test/", "text/plain", "", std::string(body / 2, 'y'), ""});
      write.next->expires_at = clock.now() + std::chrono::hours(1);
      all.push_back(replace_async(*store, std::move(write)));
    }
    for (auto& each : all) swapped(each.get());
  }

  std::int64_t pages() {
    auto db = sqlite::Connection::open(folder.file(), false, seconds(5), nullptr);
    REQUIRE(db);
    return (*db)->number("PRAGMA page_count");
  }

  TempFolder folder;
  ManualClock clock;
  std::unique_ptr<SqliteStore> store;
};

TEST_CASE("rounds of records that come and expire leave the file as it was") {
  SpaceHouse house;
  std::int64_t after_two = 0;
  for (std::uint64_t round = 0; round < 12; ++round) {
    house.add(round * 1000, 400, 3000);
    if (round == 1) after_two = house.pages();
    if (round > 1) CHECK(house.pages() <= after_two + after_two / 10);
    house.clock.advance(std::chrono::hours(1));
    CHECK(house.store->reap(10'000) == 400u);
  }
  CHECK(house.store->scan({})->records.empty());
}

TEST_CASE("space is given back to the file system") {
  SpaceHouse house;
  house.add(0, 2000, 6000);
  const auto full = house.pages();
  CHECK(full > 2000);
  house.clock.advance(std::chrono::hours(1));
  CHECK(house.store->reap(100'000) == 2000u);
  CHECK(house.pages() < full / 4);
  house.store.reset();
  CHECK(std::filesystem::file_size(house.folder.file()) <
        static_cast<std::uint64_t>(full) * 4096 / 4);
}

TEST_CASE("the write-ahead log stays bounded while it is written without a pause") {
  SpaceHouse house;
  constexpr std::uint64_t writes = 20'000;
  std::atomic<std::uint64_t> number{0}, longest{0};
  std::atomic<int> running{64};
  std::promise<void> over;
  std::function<void()> more = [&] {
    const auto mine = number++;
    if (mine >= writes) {
      if (--running == 0) over.set_value();
      return;
    }
    auto write = claim(id_of(mine * 0x9e3779b97f4a7c15), house.clock.now());
    house.store->replace(std::move(write), [&](const ReplaceResult&) {
      longest = std::max(longest.load(), house.store->metrics().wal_bytes.load());
      more();
    });
  };
  for (int i = 0; i < 64; ++i) more();
  over.get_future().wait();
  CHECK(house.store->metrics().checkpoints > 0);
  CHECK(house.store->metrics().wal_resets > 0);
  CHECK(house.store->metrics().checkpoint_failures == 0);
  CHECK(longest < std::uint64_t{16} << 20);
}

}  // namespace
}  // namespace ledger::test
