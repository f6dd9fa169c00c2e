#include "tests/store_contract.h"

#include "store/faulty.h"
#include "store/memory.h"
#include "store/sqlite.h"

namespace ledger::test {
namespace {

struct MemoryHouse final : StoreHouse {
  std::unique_ptr<Store> made = make_memory_store(clock.clock());
  Store& store() override { return *made; }
};

struct SqliteHouse final : StoreHouse {
  explicit SqliteHouse(bool full_durability) {
    SqliteOptions options;
    options.full_durability = full_durability;
    options.clock = clock.clock();
    options.counts_delay = milliseconds(5);
    auto opened = SqliteStore::open(folder.file(), options);
    REQUIRE_MESSAGE(opened, opened.error().message);
    made = std::move(*opened);
  }
  Store& store() override { return *made; }
  TempFolder folder;
  std::unique_ptr<Store> made;
};

// A FaultyStore without faults is the store that it wraps.
struct FaultyHouse final : StoreHouse {
  std::unique_ptr<Store> inner = make_memory_store(clock.clock());
  FaultyStore faulty{*inner};
  Store& store() override { return faulty; }
};

TEST_CASE("the memory store keeps the contract") {
  keep_store_contract([] { return std::make_unique<MemoryHouse>(); });
}

TEST_CASE("the SQLite store keeps the contract") {
  keep_store_contract([] { return std::make_unique<SqliteHouse>(true); });
}

TEST_CASE("the SQLite store keeps the contract with durability normal") {
  keep_store_contract([] { return std::make_unique<SqliteHouse>(false); });
}

TEST_CASE("a faulty store without faults keeps the contract") {
  keep_store_contract([] { return std::make_unique<FaultyHouse>(); });
}

}  // namespace
}  // namespace ledger::test
