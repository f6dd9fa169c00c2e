// Opening: what is made, what is refused, and that the refusal names the file and what to do.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "store/sqlite.h"
#include "store/sqlite_schema.h"
#include "tests/store_support.h"

namespace ledger::test {
namespace {

std::string refusal(const std::string& url, bool create = true) {
  const auto opened = open_store(url, true, create);
  REQUIRE_MESSAGE(!opened, url);
  CHECK(!opened.error().unknown);
  CHECK(opened.error().message.find('\n') == std::string::npos);
  return opened.error().message;
}

void check_says(const std::string& text, std::initializer_list<const char*> words) {
  for (const auto* word : words) CHECK_MESSAGE(text.find(word) != std::string::npos, text);
}

void sql(const std::string& path, const char* text) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  REQUIRE_MESSAGE(sqlite3_exec(db, text, nullptr, nullptr, nullptr) == SQLITE_OK,
                  sqlite3_errmsg(db));
  sqlite3_close(db);
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// A store with some records, closed.
void make_store(const std::string& path, std::uint64_t records = 500) {
  auto store = open_store(path, false, true);
  REQUIRE_MESSAGE(store, store.error().message);
  std::vector<std::future<ReplaceResult>> all;
  for (std::uint64_t i = 0; i < records; ++i)
    all.push_back(replace_async(**store, claim(id_of(i), (*store)->now())));
  for (auto& each : all) swapped(each.get());
}

TEST_CASE("store URLs") {
  TempFolder folder;
  CHECK(open_store("memory:", true, true));
  CHECK(open_store("sqlite:" + folder.file("a.db"), true, true));
  CHECK(open_store("sqlite://" + folder.file("a.db"), true, false));
  CHECK(open_store(folder.file("a.db"), false, false));
  check_says(refusal("memory:", false), {"inside the proxy"});
  check_says(refusal("memory:x"), {"nothing after"});
  check_says(refusal(":memory:"), {"memory:"});
  check_says(refusal("postgres://host/db"), {"postgres:", "not supported yet", "sqlite:PATH"});
  check_says(refusal("redis://host"), {"not supported yet"});
  check_says(refusal("mysql://host"), {"mysql", "unknown scheme", "sqlite:PATH"});
  check_says(refusal("sqlite:"), {"no path"});
  check_says(refusal("sqlite://host/db"), {"host"});
  check_says(refusal("file:x.db"), {"unknown scheme"});
}

TEST_CASE("a store that is not there") {
  TempFolder folder;
  check_says(refusal(folder.file(), false), {"no store", folder.file().c_str()});
  CHECK(!std::filesystem::exists(folder.file()));
  check_says(refusal(folder.file("no/such/ledger.db")), {"no folder", "no/such"});
  check_says(refusal(folder.path().string()), {"is a folder"});
  check_says(refusal("/proc/self/ledger.db"), {"cannot create", "/proc/self/ledger.db"});
}

TEST_CASE("a folder that may not be written") {
  if (geteuid() == 0) return;  // root may
  TempFolder folder;
  make_store(folder.file());
  chmod(folder.path().c_str(), 0500);
  check_says(refusal(folder.file("b.db")), {"cannot create", "b.db", "Permission denied"});
  chmod(folder.path().c_str(), 0700);
  chmod(folder.file().c_str(), 0);
  check_says(refusal(folder.file()), {"cannot open", "Permission denied"});
}

TEST_CASE("a store that may only be read can be looked at, and says so when written") {
  if (geteuid() == 0) return;
  TempFolder folder;
  make_store(folder.file(), 3);
  auto keeps_log = open_store(folder.file(), true, false);  // as a running proxy would
  REQUIRE(keeps_log);
  swapped(replace_now(**keeps_log, claim(id_of(50), (*keeps_log)->now())));
  chmod(folder.file().c_str(), 0400);
  const auto reading = open_store(folder.file(), true, false);
  REQUIRE_MESSAGE(reading, reading.error().message);
  CHECK((*reading)->scan({})->records.size() == 4);
  CHECK(load_now(**reading, id_of(50))->record);
  const auto unwritable = (*reading)->check_writable();
  REQUIRE(!unwritable);
  check_says(unwritable.error().message, {"read-only", folder.file().c_str()});
  CHECK(!replace_now(**reading, claim(id_of(51), (*reading)->now())));
  CHECK(!(*reading)->join_instance());
}

TEST_CASE("the store's files are for their owner's eyes") {
  TempFolder folder;
  auto store = open_store(folder.file(), true, true);
  REQUIRE(store);
  REQUIRE((*store)->join_instance());
  for (const char* suffix : {"", "-wal", "-shm", ".owners"}) {
    struct stat found {};
    REQUIRE(stat((folder.file() + suffix).c_str(), &found) == 0);
    CHECK((found.st_mode & 0777) == 0600);
  }
}

TEST_CASE("a file that is something else is refused and not touched") {
  TempFolder folder;
  std::ofstream(folder.file("text")) << std::string(10000, 'x');
  sql(folder.file("other.db"), "CREATE TABLE t(x); INSERT INTO t VALUES (1)");
  sql(folder.file("named.db"), "PRAGMA application_id = 7; CREATE TABLE t(x)");
  std::ofstream(folder.file("short")) << "#!/bin/sh\n";
  for (const char* name : {"text", "other.db", "named.db", "short"}) {
    const auto before = contents(folder.file(name));
    for (bool create : {true, false})
      check_says(refusal(folder.file(name), create), {"not a ledger store", name});
    CHECK(contents(folder.file(name)) == before);
  }
  std::ofstream(folder.file("empty")).flush();
  check_says(refusal(folder.file("empty"), false), {"empty", "not a ledger store"});
  CHECK(open_store(folder.file("empty"), true, true));
}

TEST_CASE("a store of a newer ledger is refused") {
  TempFolder folder;
  make_store(folder.file(), 1);
  sql(folder.file(), "PRAGMA user_version = 99");
  for (bool create : {true, false})
    check_says(refusal(folder.file(), create), {"newer ledger", "99", folder.file().c_str()});
}

TEST_CASE("a store whose file is deleted or replaced writes nothing more") {
  TempFolder folder;
  auto store = open_store(folder.file(), true, true);
  REQUIRE(store);
  swapped(replace_now(**store, claim(id_of(1), (*store)->now())));
  const auto instance = (*store)->join_instance();
  SUBCASE("deleted") { std::filesystem::remove(folder.file()); }
  SUBCASE("replaced") {
    std::filesystem::rename(folder.file(), folder.file("away"));
    make_store(folder.file());
  }
  const auto refused = replace_now(**store, claim(id_of(2), (*store)->now()));
  REQUIRE(!refused);
  CHECK(!refused.error().unknown);
  check_says(refused.error().message, {"deleted or replaced", folder.file().c_str()});
  CHECK(!(*store)->heartbeat(*instance));
  CHECK(!(*store)->check_writable());
}

TEST_CASE("a damaged store is refused") {
  TempFolder folder;
  make_store(folder.file());
  const auto whole = contents(folder.file());

  SUBCASE("cut short") {
    std::filesystem::resize_file(folder.file(), whole.size() / 2);
    check_says(refusal(folder.file()), {"damaged", "backup", folder.file().c_str()});
  }
  SUBCASE("its first page overwritten behind the header") {
    std::fstream out(folder.file(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(100);
    out << std::string(4096 - 100, '\x5a');
    out.close();
    check_says(refusal(folder.file()), {"damaged", folder.file().c_str()});
  }
  SUBCASE("its header overwritten") {
    std::fstream out(folder.file(), std::ios::in | std::ios::out | std::ios::binary);
    out << std::string(100, '\x5a');
    out.close();
    check_says(refusal(folder.file()), {"not a ledger store", folder.file().c_str()});
  }
  SUBCASE("deep inside: found when it is read") {
    const auto from = whole.size() / 4;
    std::fstream out(folder.file(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(from));
    out << std::string(whole.size() - from, '\x5a');
    out.close();
    auto store = open_store(folder.file(), true, false);
    REQUIRE_MESSAGE(store, store.error().message);
    const auto page = (*store)->scan({std::nullopt, std::nullopt, std::nullopt, 1000, 0, 0});
    REQUIRE(!page);
    check_says(page.error().message, {"damaged"});
  }
}

// --- migrations --------------------------------------------------------------------------------

using sqlite::Connection;
using sqlite::Migration;

void add_column(Connection& db) { db.exec("ALTER TABLE records ADD COLUMN colour TEXT"); }
void fail_midway(Connection& db) {
  db.exec("DELETE FROM records");
  db.exec("CREATE TABLE records(x)");
}

tl::expected<void, StoreError> bring_up(const std::string& path, std::vector<Migration> steps,
                                        bool in_use = false) {
  auto db = Connection::open(path, true, seconds(5), nullptr);
  REQUIRE(db);
  return sqlite::bring_up(**db, path, true, steps, [&] { return in_use; });
}

std::int64_t number(const std::string& path, const char* query) {
  auto db = Connection::open(path, false, seconds(5), nullptr);
  REQUIRE(db);
  const auto result = (*db)->number(query);
  CHECK((*db)->ok());
  return result;
}

TEST_CASE("an older store is brought up to date, once, with its records") {
  TempFolder folder;
  make_store(folder.file(), 5);
  auto steps = std::vector(sqlite::migrations().begin(), sqlite::migrations().end());
  const auto newest = static_cast<std::int64_t>(steps.size());
  steps.push_back(add_column);

  const auto refused = bring_up(folder.file(), steps, true);
  REQUIRE(!refused);
  check_says(refused.error().message, {"in use by an older ledger"});
  CHECK(number(folder.file(), "PRAGMA user_version") == newest);

  for (int times = 0; times < 2; ++times) {
    const auto done = bring_up(folder.file(), steps);
    REQUIRE_MESSAGE(done, done.error().message);
    CHECK(number(folder.file(), "PRAGMA user_version") == newest + 1);
  }
  CHECK(number(folder.file(), "SELECT count(*) FROM records WHERE colour IS NULL") == 5);
  check_says(refusal(folder.file()), {"newer ledger"});
}

// A file as it was before labels and counts of what never left: its records keep all they had.
TEST_CASE("a store of before labels is brought up to date with its records as they were") {
  TempFolder folder;
  const auto steps = sqlite::migrations();
  REQUIRE(bring_up(folder.file(), {steps[0], steps[1]}));
  sql(folder.file(),
      "INSERT INTO records VALUES (1, randomblob(32), 3, 7, 6, 6, 5, 2, 1, 0, 1, 0, 2, 1000, 2000, "
      "NULL, 60000, 1000, 3000, 'gone', 'pay', 'POST', 'http://h/', 'bot', 'r1', randomblob(32), "
      "'2000' || char(9) || 'in_doubt' || char(9) || 'reset' || char(10), 2500)");
  sql(folder.file(), "INSERT INTO answers VALUES (1, 500, 2000, 1, 'no', '', x'626f6479')");
  sql(folder.file(), "UPDATE meta SET version = 7");

  auto store = open_store(folder.file(), true, false);
  REQUIRE_MESSAGE(store, store.error().message);
  const auto page = (*store)->scan({});
  REQUIRE(page);
  REQUIRE(page->records.size() == 1);
  auto record = page->records.front();
  CHECK(record.state == State::in_doubt);
  CHECK((record.label.empty() && record.key_text.empty() && record.scope == 0));
  CHECK(record.counts.attempts == 5);
  CHECK(record.counts.executed == 2);
  CHECK(record.counts.unsent == 0);
  CHECK(record.counts.mismatched == 0);
  CHECK(record.closed_at == Instant(std::chrono::milliseconds(2500)));
  CHECK(record.history.back().detail == "reset");
  CHECK(record.answer->status == 500);

  record.label = "to +4912345";
  record = swapped(replace_now(**store, {record.id, record.version, record, {}, false}));
  CHECK(load_now(**store, record.id)->record->label == "to +4912345");
  CHECK(record.version == 8);
}

TEST_CASE("a migration that fails changes nothing") {
  TempFolder folder;
  make_store(folder.file(), 5);
  auto steps = std::vector(sqlite::migrations().begin(), sqlite::migrations().end());
  steps.push_back(add_column);
  steps.push_back(fail_midway);
  CHECK(!bring_up(folder.file(), steps));
  CHECK(number(folder.file(), "SELECT count(*) FROM records") == 5);
  CHECK(open_store(folder.file(), true, false));
}

TEST_CASE("a new store has every step, the mark of a ledger store, and gives space back") {
  TempFolder folder;
  make_store(folder.file(), 1);
  CHECK(number(folder.file(), "PRAGMA user_version") ==
        static_cast<std::int64_t>(sqlite::migrations().size()));
  CHECK(number(folder.file(), "PRAGMA application_id") == sqlite::application_id);
  CHECK(number(folder.file(), "PRAGMA auto_vacuum") == 2);  // incremental
}

}  // namespace
}  // namespace ledger::test
