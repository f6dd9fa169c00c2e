#include "store/sqlite_schema.h"

#include <openssl/rand.h>
#include <sqlite3.h>

#include <array>
#include <chrono>
#include <thread>

namespace ledger::sqlite {
namespace {

// - seq is the version under which the record was created: append-ordered, never reused.
// - The columns that settle a swap come first, the long ones last: SQLite reads a row from its
// front.
// - An answer's body is its row's last column, so that reading the head leaves it alone.
// - Of the indexes only the one on id covers every record. Numbers in their conditions are State's.
// - The hot path is one INSERT (claim) and one UPDATE (settle) a call; docs/store.md says what each
//   index costs there.
constexpr const char* tables_v1 = R"sql(
CREATE TABLE meta (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,  -- the last one given out
  secret  BLOB NOT NULL      -- HMAC key of every instance
) STRICT;

CREATE TABLE records (
  seq           INTEGER PRIMARY KEY,
  id            BLOB NOT NULL,
  state         INTEGER NOT NULL,  -- 0 in_flight, 1 completed, 2 released, 3 in_doubt
  version       INTEGER NOT NULL,
  claim_version INTEGER NOT NULL,
  generation    INTEGER NOT NULL,
  attempts      INTEGER NOT NULL,
  executed      INTEGER NOT NULL,
  replayed      INTEGER NOT NULL,
  joined        INTEGER NOT NULL,
  effects       INTEGER NOT NULL,
  tainted       INTEGER NOT NULL,
  key_source    INTEGER NOT NULL,  -- 0 fingerprint, 1 route, 2 header, 3 idempotency-key
  created_at    INTEGER NOT NULL,  -- times: ms since 1970, UTC
  updated_at    INTEGER NOT NULL,
  expires_at    INTEGER,           -- NULL: never
  ttl           INTEGER,           -- ms; NULL: forever
  first_sent_at INTEGER NOT NULL,
  ownerless_at  INTEGER NOT NULL,
  owner         TEXT NOT NULL,
  route         TEXT NOT NULL,
  method        TEXT NOT NULL,
  url           TEXT NOT NULL,
  agent         TEXT NOT NULL,
  run           TEXT NOT NULL,
  fingerprint   BLOB NOT NULL,
  history       TEXT NOT NULL      -- lines of: ms, event, detail
) STRICT;
CREATE UNIQUE INDEX records_id ON records (id);
CREATE INDEX records_version ON records (version) WHERE state <> 0;
CREATE INDEX records_in_flight ON records (ownerless_at) WHERE state = 0;
CREATE INDEX records_unsettled ON records (state) WHERE state >= 2;
CREATE INDEX records_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE answers (
  seq         INTEGER PRIMARY KEY,
  status      INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  body_stored INTEGER NOT NULL,
  reason      TEXT NOT NULL,
  headers     TEXT NOT NULL,  -- lines of: name, value
  body        BLOB NOT NULL
) STRICT;

CREATE TABLE requests (
  seq              INTEGER PRIMARY KEY,
  target           TEXT NOT NULL,
  content_type     TEXT NOT NULL,
  content_encoding TEXT NOT NULL,
  body             BLOB NOT NULL
) STRICT;

CREATE TABLE instances (
  slot        INTEGER PRIMARY KEY,  -- its byte in the file of owner locks; never reused
  name        TEXT NOT NULL UNIQUE,
  lease_until INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  pid         INTEGER NOT NULL
) STRICT;
)sql";

void create_v1(Connection& db) {
  db.exec(tables_v1);
  std::array<unsigned char, 32> secret;
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1) db.fail(SQLITE_IOERR);
  Statement insert(db, "INSERT INTO meta (one, version, secret) VALUES (1, 0, ?1)");
  insert.bind_blob(1, {reinterpret_cast<const char*>(secret.data()), secret.size()}).run();
  db.exec("PRAGMA application_id = 0x4c444752");
}

// For probes: what to ask, and from when on "not found" can be believed.
void add_v2(Connection& db) {
  db.exec("ALTER TABLE records ADD COLUMN closed_at INTEGER");
  db.exec("ALTER TABLE requests ADD COLUMN probe TEXT NOT NULL DEFAULT ''");
}

// What people see of a call, and counts that were not kept apart before: what was executed until
// now stays so.
void add_v3(Connection& db) {
  db.exec("ALTER TABLE records ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0");
  db.exec("ALTER TABLE records ADD COLUMN mismatched INTEGER NOT NULL DEFAULT 0");
  db.exec("ALTER TABLE records ADD COLUMN label TEXT NOT NULL DEFAULT ''");
  db.exec("ALTER TABLE records ADD COLUMN key_text TEXT NOT NULL DEFAULT ''");
  db.exec("ALTER TABLE records ADD COLUMN scope INTEGER NOT NULL DEFAULT 0");
}

struct Identity {
  std::int64_t application = 0, version = 0, tables = 0;
  bool empty() const { return application == 0 && version == 0 && tables == 0; }
};

// In one transaction: another process may be making the store of an empty file.
Identity identify(Connection& db) {
  db.exec("BEGIN");
  Identity file{db.number("PRAGMA application_id"), db.number("PRAGMA user_version"),
                db.number("SELECT count(*) FROM sqlite_schema")};
  db.exec("COMMIT");
  if (!db.ok()) db.rollback();
  return file;
}

tl::unexpected<StoreError> refuse(std::string message) {
  return tl::unexpected(StoreError{std::move(message), false});
}

tl::unexpected<StoreError> refuse(Connection& db, const std::string& path) {
  return refuse(words_for(*db.take_error(), path));
}

// Why the file is not for us; an empty text: it is.
std::string objection(const Identity& file, const std::string& path, bool create,
                      std::int64_t newest) {
  if (file.empty())
    return create
               ? ""
               : path +
                     " is empty, not a ledger store: name another file, or start the proxy on it";
  if (file.application != application_id)
    return path + " is an SQLite database, but not a ledger store: name another file";
  if (file.version > newest)
    return "the store " + path + " was made by a newer ledger (schema " +
           std::to_string(file.version) + ", this one knows " + std::to_string(newest) +
           "): use that one";
  return "";
}

// Turning WAL on needs the file to itself for a moment and does not wait for it by busy_timeout.
void switch_to_wal(Connection& db) {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + 5s;
  for (;;) {
    db.exec("PRAGMA journal_mode = WAL");
    auto error = db.take_error();
    if (!error) return;
    if (error->primary() != SQLITE_BUSY || std::chrono::steady_clock::now() > deadline)
      return db.fail(error->code);
    std::this_thread::sleep_for(5ms);
  }
}

void migrate(Connection& db, std::span<const Migration> steps) {
  db.exec("BEGIN IMMEDIATE");
  // Another process may have been first.
  const auto from = static_cast<std::size_t>(db.number("PRAGMA user_version"));
  for (auto i = from; i < steps.size() && db.ok(); ++i) steps[i](db);
  if (from < steps.size())
    db.exec(("PRAGMA user_version = " + std::to_string(steps.size())).c_str());
  db.exec("COMMIT");
  if (!db.ok()) db.rollback();
}

}  // namespace

std::span<const Migration> migrations() {
  static constexpr Migration all[] = {create_v1, add_v2, add_v3};
  return all;
}

tl::expected<void, StoreError> bring_up(Connection& db, const std::string& path, bool create,
                                        std::span<const Migration> steps,
                                        const std::function<bool()>& in_use) {
  const auto newest = static_cast<std::int64_t>(steps.size());
  const auto file = identify(db);
  if (!db.ok()) return refuse(db, path);
  if (auto words = objection(file, path, create, newest); !words.empty()) return refuse(words);

  const bool old = file.version < newest;
  if (db.read_only()) {
    if (!old) return {};
    return refuse("the store " + path +
                  " was made by an older ledger and cannot be brought up to date, since it is "
                  "read-only: let this user write the file and its folder");
  }
  if (old && !file.empty() && in_use())
    return refuse("the store " + path +
                  " is in use by an older ledger: stop that one before this one opens the store");

  // Must be said before the first page is written, which switching to WAL does.
  if (file.empty()) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
  switch_to_wal(db);
  if (old) migrate(db, steps);
  if (!db.ok()) return refuse(db, path);

  Statement mode(db, "PRAGMA journal_mode");
  if (mode.step() && mode.bytes(0) != "wal")
    return refuse(
        "the file system of the store " + path +
        " has no shared memory for SQLite's WAL (a network drive?): move it to a local disk");
  // Another process may have made, of the same empty file, something else.
  if (db.ok() && db.number("PRAGMA user_version") > newest)
    return refuse(objection(identify(db), path, create, newest));
  if (!db.ok()) return refuse(db, path);
  return {};
}

}  // namespace ledger::sqlite
