#include "store/sqlite.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "store/owner_locks.h"
#include "store/record_cache.h"
#include "store/sqlite_checkpoint.h"
#include "store/sqlite_files.h"
#include "store/sqlite_inspect.h"
#include "store/sqlite_reader.h"
#include "store/sqlite_replace.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_vfs.h"
#include "store/sqlite_writer.h"

namespace ledger {
namespace {

using sqlite::Connection;
using sqlite::Session;
using sqlite::Tables;
using sqlite::Transaction;

// Records deleted in one transaction, so that reaping never holds up a claim for long.
constexpr std::size_t reap_chunk = 128;
// Pages given back to the file system in one transaction (1 MiB).
constexpr std::int64_t vacuum_pages = 256;

tl::unexpected<StoreError> refuse(std::string message) {
  return tl::unexpected(StoreError{std::move(message), false});
}

// Says what is wrong with the place before SQLite says less; makes the file ours alone to read,
// since it holds answers and a secret (its log and index inherit that).
tl::expected<void, StoreError> prepare_place(const std::string& path, bool create) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (path.empty()) return refuse("the store has no path: write sqlite:PATH");
  if (fs::is_directory(path, ignored))
    return refuse("the store " + path + " is a folder: name a file in it, such as " +
                  (fs::path(path) / "ledger.db").string());
  if (fs::exists(path, ignored)) return {};
  if (!create)
    return refuse("there is no store " + path +
                  ": name the store's file, or start the proxy first");
  const auto folder = fs::path(path).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, ignored))
    return refuse("cannot create the store " + path + ": there is no folder " + folder.string() +
                  ", create it first");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST)
    return refuse("cannot create the store " + path + ": " + std::strerror(errno) +
                  "; let this user write to its folder, or name another place");
  if (fd >= 0) close(fd);
  return {};
}

tl::expected<std::unique_ptr<Connection>, StoreError> connect(const std::string& path,
                                                              const SqliteOptions& options) {
  auto opened =
      Connection::open(path, options.create, options.busy_wait, sqlite::gathering_vfs(options.vfs));
  if (!opened) return refuse(words_for(opened.error(), path));
  Connection& db = **opened;
  db.exec("PRAGMA trusted_schema = OFF");
  db.exec("PRAGMA cache_spill = OFF");  // store/sqlite_vfs.h needs it
  // Checkpoints have a thread of their own.
  db.exec("PRAGMA wal_autocheckpoint = 0");
  db.exec(options.full_durability ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  return std::move(*opened);
}

tl::expected<Session, StoreError> open_session(const std::string& path,
                                               const SqliteOptions& options) {
  auto db = connect(path, options);
  if (!db) return tl::unexpected(db.error());
  Session session{std::move(*db), nullptr};
  session.tables = std::make_unique<Tables>(*session.db);
  if (!session.db->ok()) return refuse(words_for(*session.db->take_error(), path));
  return session;
}

void tune_writer(Connection& db, const SqliteOptions& options) {
  // The index on id is hit at random: what is hot of it should not be read again and again.
  db.exec("PRAGMA cache_size = -32768");
  // A log that once grew long is cut when it begins anew.
  db.exec("PRAGMA journal_size_limit = 134217728");
  // Deleted content is overwritten only where the page is written anyway.
  db.exec("PRAGMA secure_delete = FAST");
  if (options.pages_max)
    db.exec(("PRAGMA max_page_count = " + std::to_string(options.pages_max)).c_str());
}

std::string random_hex() {
  std::array<unsigned char, 4> bytes{};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  std::string hex;
  for (auto byte : bytes) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

// Rows of dead instances that nothing in flight names any more.
void drop_dead_instances(Transaction& transaction) {
  Tables& tables = transaction.tables;
  for (const auto& instance : tables.instances())
    if (!is_alive(instance, transaction.locks, transaction.now) &&
        !tables.owns_in_flight(instance.name))
      tables.remove_instance(instance.name);
}

// Gives free pages back to the file system while they are more than a quarter of the file; fewer
// are left for the next records. False: nothing to do.
bool give_back_pages(Transaction& transaction) {
  Connection& db = transaction.tables.db();
  const auto free_pages = db.number("PRAGMA freelist_count");
  if (free_pages < vacuum_pages || free_pages * 4 < db.number("PRAGMA page_count")) return false;
  db.exec(("PRAGMA incremental_vacuum(" + std::to_string(vacuum_pages) + ")").c_str());
  transaction.wrote = true;
  return true;
}

}  // namespace

SqliteStore::SqliteStore(std::string path, Clock clock)
    : path_(std::move(path)),
      clock_(std::move(clock)),
      locks_(std::make_unique<OwnerLocks>(path_ + ".owners")) {}

SqliteStore::~SqliteStore() {
  // What is queued gets its answer; a `done` may still call us, and is told that we are closing.
  if (writer_) writer_->stop();
  if (reader_) reader_->stop();
  if (checkpointer_) checkpointer_->stop();
}

tl::expected<std::unique_ptr<SqliteStore>, StoreError> SqliteStore::open(
    const std::string& path, const SqliteOptions& options) {
  if (auto placed = prepare_place(path, options.create); !placed)
    return tl::unexpected(placed.error());
  // One name for the file, whatever link led here: the lock file stands beside the file itself.
  std::error_code error;
  const auto canonical = std::filesystem::canonical(path, error);
  if (error) return refuse("cannot open the store " + path + ": " + error.message());
  if (options.create)
    if (auto ours = sqlite::check_owners(path, canonical.string()); !ours)
      return tl::unexpected(ours.error());
  std::unique_ptr<SqliteStore> store(new SqliteStore(canonical.string(), options.clock));
  if (auto started = store->start(options); !started) return tl::unexpected(started.error());
  return store;
}

tl::expected<void, StoreError> SqliteStore::start(const SqliteOptions& options) {
  auto maker = connect(path_, options);
  if (!maker) return tl::unexpected(maker.error());
  const auto in_use = [&] {
    const auto instances = sqlite::read_instances(**maker);
    return std::any_of(instances.begin(), instances.end(),
                       [&](const auto& each) { return is_alive(each, *locks_, clock_()); });
  };
  auto ready = sqlite::bring_up(**maker, path_, options.create, sqlite::migrations(), in_use);
  if (!ready) return ready;
  auto notices = sqlite::tighten_files(path_);
  if (options.notices != nullptr) *options.notices = std::move(notices);

  cache_ = std::make_unique<RecordCache>(ChangeMarks::open(path_ + ".owners"));
  auto writing = open_session(path_, options);
  if (!writing) return tl::unexpected(writing.error());
  tune_writer(*writing->db, options);
  secret_ = writing->tables->secret();
  if (auto failed = writing->db->take_error()) return refuse(words_for(*failed, path_));
  auto reading = open_session(path_, options);
  if (!reading) return tl::unexpected(reading.error());
  auto inspecting = open_session(path_, options);
  if (!inspecting) return tl::unexpected(inspecting.error());

  sqlite::Checkpointer::Settings checkpoints{options.checkpoint_bytes,
                                             options.checkpoint_bytes * 4};
  checkpointer_ = std::make_unique<sqlite::Checkpointer>(std::move(*maker), checkpoints, metrics_,
                                                         [this] { writer_->restart_wal(); });
  sqlite::Writer::Settings batches;
  batches.counts_delay = options.counts_delay;
  batches.busy_wait = options.busy_wait;
  batches.wal_bytes_max = options.checkpoint_bytes * 16;
  writer_ = std::make_unique<sqlite::Writer>(
      std::move(*writing), batches,
      sqlite::Writer::World{path_, clock_, *locks_, metrics_, cache_->marks(),
                            [this](std::uint64_t bytes) { checkpointer_->committed(bytes); }});
  reader_ = std::make_unique<sqlite::Reader>(std::move(*reading), path_, clock_, *locks_, metrics_);
  inspector_ = std::make_unique<sqlite::Inspector>(std::move(*inspecting), path_, clock_, *locks_);
  return {};
}

// --- records -----------------------------------------------------------------------------------

void SqliteStore::load(const Digest& id,
                       std::function<void(tl::expected<Found, StoreError>)> done) {
  reader_->load(id, std::move(done));
}

std::shared_ptr<const Found> SqliteStore::recall(const Digest& id) { return cache_->get(id); }

void SqliteStore::replace(Replace write,
                          std::function<void(tl::expected<Replaced, StoreError>)> done) {
  const bool forgets_counts = write.reset_counts || !write.next;
  const Digest id = write.id;
  writer_->submit(
      std::make_unique<sqlite::ReplaceJob>(std::move(write), std::move(done), metrics_, *cache_),
      forgets_counts ? &id : nullptr);
}

void SqliteStore::count(std::vector<CountDelta> deltas, std::function<void()> done) {
  writer_->count(deltas, std::move(done));
}

tl::expected<Page, StoreError> SqliteStore::scan(const Query& query) {
  return inspector_->scan(query);
}

tl::expected<std::vector<RouteStats>, StoreError> SqliteStore::stats() {
  return inspector_->stats();
}

tl::expected<std::size_t, StoreError> SqliteStore::reap(std::size_t limit) {
  std::size_t total = 0;
  for (bool more = true; more && total < limit;) {
    const auto chunk = std::min(reap_chunk, limit - total);
    std::size_t reaped = 0;
    bool gave_back = false;
    auto done = writer_->run(false, [&](Transaction& transaction) {
      const auto expired = transaction.tables.expired(transaction.now, chunk);
      for (auto seq : expired) transaction.tables.remove(seq);
      reaped = expired.size();
      gave_back = give_back_pages(transaction);
    });
    if (!done) return tl::unexpected(done.error());
    total += reaped;
    more = reaped == chunk || gave_back;
  }
  auto done = writer_->run(false, drop_dead_instances);
  if (!done) return tl::unexpected(done.error());
  return total;
}

tl::expected<void, StoreError> SqliteStore::check_writable() {
  // A whole commit, fsync included: a full or failing disk shows only there. The counter must move,
  // since SQLite writes no page whose bytes stay the same.
  return writer_->run(true, [](Transaction& transaction) { transaction.next_version(); });
}

// --- instances ---------------------------------------------------------------------------------

tl::expected<std::string, StoreError> SqliteStore::join_instance() {
  std::string name;
  std::int64_t slot = 0;
  std::string lock_failure;
  const auto unlock = [&] {
    if (slot) locks_->unlock(slot);
  };
  auto joined = writer_->run(true, [&](Transaction& transaction) {
    unlock();  // of a run that was rolled back
    drop_dead_instances(transaction);
    slot = static_cast<std::int64_t>(transaction.next_version());
    name = std::to_string(slot) + "-" + random_hex();
    // Locked before anyone can see the row, so that no one ever takes us for dead.
    const auto locked = locks_->lock(slot);
    lock_failure = locked ? "" : locked.error();
    if (locked)
      transaction.tables.add_instance({name, slot, transaction.now + lease_duration},
                                      transaction.now);
  });
  if (joined && lock_failure.empty()) return name;
  unlock();
  return joined ? refuse(lock_failure) : tl::unexpected(joined.error());
}

tl::expected<bool, StoreError> SqliteStore::heartbeat(const std::string& instance) {
  bool renewed = false;
  std::int64_t ended = 0;
  auto done = writer_->run(true, [&](Transaction& transaction) {
    Tables& tables = transaction.tables;
    const auto row = tables.instance(instance);
    // A lock that others cannot see (its file was removed) is no sign of life to them.
    renewed = row && locks_->held(row->slot) &&
              tables.renew(instance, transaction.now, transaction.now + lease_duration);
    ended = row && !renewed ? row->slot : 0;
    // Over for good, even if the clock should step back.
    if (ended) tables.remove_instance(instance);
  });
  if (!done) return tl::unexpected(done.error());
  if (ended) locks_->unlock(ended);
  cache_->check_marks();
  return renewed;
}

void SqliteStore::leave_instance(const std::string& instance) {
  std::int64_t slot = 0;
  // An error changes nothing: without its lock the instance is dead, and its row is swept later.
  (void)writer_->run(true, [&](Transaction& transaction) {
    if (const auto row = transaction.tables.instance(instance)) slot = row->slot;
    transaction.tables.remove_instance(instance);
  });
  if (slot) locks_->unlock(slot);
}

tl::expected<std::vector<Record>, StoreError> SqliteStore::orphans(std::size_t limit) {
  return inspector_->orphans(limit);
}

}  // namespace ledger
