#include "store/sqlite_writer.h"

#include <sqlite3.h>

#include <cassert>
#include <future>

#include "store/sqlite_vfs.h"

namespace ledger::sqlite {
namespace {

constexpr std::size_t counted_ids_max = 8192;           // written at once when there are more
constexpr std::chrono::milliseconds counts_retry{250};  // after counts could not be written

class TaskJob final : public Job {
 public:
  TaskJob(std::function<void(Transaction&)> work, std::promise<std::optional<StoreError>> promise)
      : work_(std::move(work)), promise_(std::move(promise)) {}
  void run(Transaction& transaction) override { work_(transaction); }
  void finish(const StoreError* error) override {
    promise_.set_value(error ? std::optional(*error) : std::nullopt);
  }

 private:
  std::function<void(Transaction&)> work_;
  std::promise<std::optional<StoreError>> promise_;
};

}  // namespace

// Counts that were gathered, and who wants to know when they are written.
class Writer::CountsJob final : public Job {
 public:
  CountsJob(Writer& writer, std::unordered_map<Digest, Counts> counts,
            std::vector<std::function<void()>> dones)
      : writer_(writer), counts_(std::move(counts)), dones_(std::move(dones)) {}

  void run(Transaction& transaction) override {
    for (const auto& [id, add] : counts_) transaction.tables.add_counts(id, add);
  }

  void finish(const StoreError* error) override {
    // Kept for the next try, unless what happened to them is not known: better lost than doubled.
    if (error && !error->unknown) return writer_.put_back(counts_, std::move(dones_));
    for (const auto& done : dones_) done();
  }

 private:
  Writer& writer_;
  std::unordered_map<Digest, Counts> counts_;
  std::vector<std::function<void()>> dones_;
};

Writer::Writer(Session session, Settings settings, World world)
    : settings_(settings),
      world_(std::move(world)),
      session_(std::move(session)),
      wal_bytes_max_(settings.wal_bytes_max) {
  page_bytes_ = static_cast<std::uint64_t>(session_.db->number("PRAGMA page_size"));
  sqlite3_wal_hook(session_.db->raw(), &Writer::on_wal, this);
  thread_ = std::thread([this] { loop(); });
}

Writer::~Writer() { stop(); }

// --- from any thread ---------------------------------------------------------------------------

void Writer::submit(std::unique_ptr<Job> job, const Digest* first) {
  {
    std::lock_guard guard(mutex_);
    if (!stopping_) {
      if (auto counted = first ? counts_.find(*first) : counts_.end(); counted != counts_.end()) {
        std::unordered_map<Digest, Counts> alone;
        alone.insert(counts_.extract(counted));
        queue_.push_back(std::make_unique<CountsJob>(*this, std::move(alone),
                                                     std::vector<std::function<void()>>{}));
      }
      queue_.push_back(std::move(job));
      wake_.notify_one();
      return;
    }
  }
  const StoreError closed{"the store is closing", false};
  job->finish(&closed);
}

void Writer::count(const std::vector<CountDelta>& deltas, std::function<void()> done) {
  {
    std::lock_guard guard(mutex_);
    if (!stopping_) {
      const bool first = counts_.empty() && counts_done_.empty();
      for (const auto& delta : deltas) add_to(counts_[delta.id], delta.add);
      if (done) counts_done_.push_back(std::move(done));
      if (first) counts_due_at_ = std::chrono::steady_clock::now() + settings_.counts_delay;
      const bool many = counts_.size() > counted_ids_max && !counts_failed_;
      if (many) counts_due_at_ = std::chrono::steady_clock::now();
      if (first || many) wake_.notify_one();
      return;
    }
  }
  if (done) done();
}

tl::expected<void, StoreError> Writer::run(bool urgent, std::function<void(Transaction&)> work) {
  assert(std::this_thread::get_id() != thread_.get_id());
  std::promise<std::optional<StoreError>> promise;
  auto result = promise.get_future();
  {
    std::lock_guard guard(mutex_);
    if (stopping_) return tl::unexpected(StoreError{"the store is closing", false});
    (urgent ? urgent_ : queue_)
        .push_back(std::make_unique<TaskJob>(std::move(work), std::move(promise)));
    wake_.notify_one();
  }
  if (auto error = result.get()) return tl::unexpected(std::move(*error));
  return {};
}

void Writer::restart_wal() {
  std::unique_lock lock(mutex_);
  restart_wal_ = true;
  wake_.notify_one();
  tried_restart_.wait(lock, [&] { return !restart_wal_ || stopping_; });
}

void Writer::stop() {
  {
    std::lock_guard guard(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
    tried_restart_.notify_one();
  }
  thread_.join();
}

void Writer::put_back(const std::unordered_map<Digest, Counts>& counts,
                      std::vector<std::function<void()>> dones) {
  {
    std::lock_guard guard(mutex_);
    if (!stopping_ && !broken_) {
      for (const auto& [id, add] : counts) add_to(counts_[id], add);
      for (auto& done : dones) counts_done_.push_back(std::move(done));
      counts_due_at_ = std::chrono::steady_clock::now() + counts_retry;
      counts_failed_ = true;
      return;
    }
  }
  for (const auto& done : dones) done();
}

// --- the writer's thread -----------------------------------------------------------------------

void Writer::loop() {
  Jobs batch;
  while (next_batch(batch)) {
    run_batch(batch);
    batch.clear();
  }
}

bool Writer::counts_due() const {
  if (counts_.empty() && counts_done_.empty()) return false;
  return stopping_ || std::chrono::steady_clock::now() >= counts_due_at_;
}

std::unique_ptr<Job> Writer::take_counts() {
  counts_failed_ = false;
  return std::make_unique<CountsJob>(*this, std::exchange(counts_, {}),
                                     std::exchange(counts_done_, {}));
}

// Waits for work and takes what there is, up to the batch's limits. False: stopped, all is done.
bool Writer::next_batch(Jobs& batch) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] {
    return !urgent_.empty() || !queue_.empty() || counts_due() || restart_wal_ || stopping_;
  };
  while (!ready()) {
    if (counts_.empty() && counts_done_.empty()) {
      wake_.wait(lock);
    } else {
      wake_.wait_until(lock, counts_due_at_);
    }
  }
  tend_wal(lock);
  for (auto& job : urgent_) batch.push_back(std::move(job));
  urgent_.clear();
  if (counts_due()) batch.push_back(take_counts());
  std::size_t bytes = 0;
  while (!queue_.empty() && batch.size() < settings_.batch_jobs && bytes < settings_.batch_bytes) {
    bytes += queue_.front()->weight();
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return !batch.empty() || !stopping_;
}

// One job that cannot be written must not take the others down: what failed for a reason that may
// lie in one job is tried again in halves.
void Writer::run_batch(std::span<const std::unique_ptr<Job>> jobs) {
  if (jobs.empty()) return;
  const auto failed = transact(jobs);
  if (failed && failed->may_be_one_job && jobs.size() > 1) {
    run_batch(jobs.first(jobs.size() / 2));
    run_batch(jobs.subspan(jobs.size() / 2));
    return;
  }
  for (const auto& job : jobs) job->finish(failed ? &failed->error : nullptr);
}

std::optional<Writer::Failure> Writer::transact(std::span<const std::unique_ptr<Job>> jobs) {
  if (broken_) return Failure{*broken_};
  Connection& db = *session_.db;
  Tables& tables = *session_.tables;
  if (db.moved()) {
    world_.metrics.failed.fetch_add(1, std::memory_order_relaxed);
    broken_ = StoreError{"the file of the store " + world_.path +
                             " was deleted or replaced under the running proxy: put it back, then "
                             "restart Ledger (nothing is written until then)",
                         false};
    return Failure{*broken_};
  }

  tables.begin_write();
  const auto changes_before = db.total_changes();
  const auto version_before = tables.version();
  Transaction transaction{tables, world_.locks, world_.clock(), version_before};
  for (const auto& job : jobs) {
    if (!db.ok()) break;
    job->run(transaction);
  }
  if (transaction.version != version_before) tables.set_version(transaction.version);
  if (!db.ok()) return failure(false);

  if (db.total_changes() == changes_before && !transaction.wrote) {
    db.rollback();
    world_.metrics.unwritten.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  std::vector<std::uint64_t> tickets;
  if (world_.marks)
    for (const auto& id : transaction.changes) tickets.push_back(world_.marks->changing(id));
  tables.commit();
  if (!db.ok()) return failure(true);  // stays marked: who remembers something asks the store
  for (std::size_t i = 0; i < tickets.size(); ++i)
    world_.marks->changed(transaction.changes[i], tickets[i]);
  world_.metrics.commits.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

// Ends the transaction that failed. Nothing of it is there, except in one case: an I/O error within
// COMMIT leaves frames in the write-ahead log that a recovery may yet find whole (the fsync failed,
// not the write). Then no one can say, and this connection is not to be trusted again.
std::optional<Writer::Failure> Writer::failure(bool committing) {
  Connection& db = *session_.db;
  const auto error = *db.take_error();
  db.rollback();
  world_.metrics.failed.fetch_add(1, std::memory_order_relaxed);
  const StoreError told{words_for(error, world_.path), false};
  switch (error.primary()) {
    case SQLITE_FULL:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_NOMEM:
      if (!committing || error.primary() == SQLITE_FULL) return Failure{told, true};
      break;
    case SQLITE_BUSY:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return Failure{told};
    default:
      if (!committing && error.primary() != SQLITE_CORRUPT && error.primary() != SQLITE_NOTADB)
        return Failure{told};
  }
  broken_ =
      StoreError{told.message + " (nothing more is written until Ledger is restarted)", false};
  // The log stays as it is for the recovery at the next start.
  sqlite3_db_config(db.raw(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return Failure{{told.message, committing}};
}

int Writer::on_wal(void* self, sqlite3*, const char*, int frames) {
  auto& writer = *static_cast<Writer*>(self);
  writer.wal_bytes_ =
      static_cast<std::uint64_t>(frames) * (writer.page_bytes_ + frame_header_bytes);
  writer.world_.metrics.wal_bytes.store(writer.wal_bytes_, std::memory_order_relaxed);
  writer.world_.committed(writer.wal_bytes_);
  return SQLITE_OK;
}

// Begins the log anew when the checkpointer asks for it. When writing outruns the checkpointer, it
// waits here for that, rather than let the log fill the disk.
void Writer::tend_wal(std::unique_lock<std::mutex>& lock) {
  using namespace std::chrono_literals;
  const bool too_long = wal_bytes_ >= wal_bytes_max_;
  if (too_long) wake_.wait_for(lock, 1s, [&] { return restart_wal_ || stopping_; });
  if (stopping_) return;
  if (restart_wal_) {
    lock.unlock();
    if (begin_wal_anew()) wal_bytes_ = 0;
    lock.lock();
    restart_wal_ = false;
    tried_restart_.notify_one();
  }
  // A reader that stays holds on to the log: no use in waiting again soon.
  if (wal_bytes_ < settings_.wal_bytes_max) wal_bytes_max_ = settings_.wal_bytes_max;
  if (wal_bytes_ >= wal_bytes_max_) wal_bytes_max_ = wal_bytes_ + settings_.wal_bytes_max;
}

// False: readers are in the way, or the disk failed.
bool Writer::begin_wal_anew() {
  if (broken_) return false;
  sqlite3* db = session_.db->raw();
  // Readers of the log must be gone for a moment. Ours are quick; a slow one from outside is not
  // worth waiting for.
  sqlite3_busy_timeout(db, 20);  // milliseconds
  const int code =
      sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
  sqlite3_busy_timeout(db, static_cast<int>(settings_.busy_wait.count()));
  if (code == SQLITE_OK) {
    world_.metrics.wal_resets.fetch_add(1, std::memory_order_relaxed);
  } else if (code != SQLITE_BUSY) {
    world_.metrics.checkpoint_failures.fetch_add(1, std::memory_order_relaxed);
  }
  return code == SQLITE_OK;
}

}  // namespace ledger::sqlite
