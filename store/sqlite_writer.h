// The one thread of a store that writes. Group commit: whatever is queued when a transaction begins
// shares it, and its one fsync. Batches grow with the load and never by waiting (as leveldb's
// BuildBatchGroup does it).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "store/change_marks.h"
#include "store/clock.h"
#include "store/metrics.h"
#include "store/owner_locks.h"
#include "store/sqlite_tables.h"
#include "store/store.h"

namespace ledger::sqlite {

// What a job sees of the transaction that it shares.
struct Transaction {
  Tables& tables;
  const OwnerLocks& locks;
  const Instant now;
  std::uint64_t version;          // the last one given out
  bool wrote = false;             // something that SQLite does not count as a changed row
  std::vector<Digest> changes{};  // records that others may remember, to be marked at the commit
  std::uint64_t next_version() { return ++version; }
};

// Something to do in a write transaction, on the writer's thread.
class Job {
 public:
  virtual ~Job() = default;
  // Runs again, from the start, when the transaction was rolled back because of another job.
  virtual void run(Transaction& transaction) = 0;
  // Called once, at last: null: what run() did is committed. It must not block.
  virtual void finish(const StoreError* error) = 0;
  // Bytes to write, roughly.
  virtual std::size_t weight() const { return 0; }
};

class Writer {
 public:
  // Constants of group commit; tests make them small.
  struct Settings {
    std::size_t batch_jobs = 256;
    std::size_t batch_bytes = std::size_t{16} << 20;
    std::chrono::milliseconds counts_delay{25};
    std::chrono::milliseconds busy_wait{5000};
    std::uint64_t wal_bytes_max = std::uint64_t{64}
                                  << 20;  // then writing waits for the checkpointer
  };
  // What the writer shares with the rest of the store; all outlive it.
  struct World {
    const std::string& path;
    const Clock& clock;
    const OwnerLocks& locks;
    StoreMetrics& metrics;
    ChangeMarks* marks;  // nullptr: nobody remembers anything
    // Called after a commit with the length of the write-ahead log.
    std::function<void(std::uint64_t wal_bytes)> committed;
  };

  Writer(Session session, Settings settings, World world);
  ~Writer();  // stop()

  // `first`: what was counted for this id before now is written ahead of the job.
  void submit(std::unique_ptr<Job> job, const Digest* first = nullptr);
  void count(const std::vector<CountDelta>& deltas, std::function<void()> done);

  // Does `work` in a transaction and waits for its commit. `urgent`: ahead of all that is queued.
  // Never from a `done`.
  tl::expected<void, StoreError> run(bool urgent, std::function<void(Transaction&)> work);

  // Has the writer copy the rest of the write-ahead log and begin it anew, between two
  // transactions; returns when it has tried. For the Checkpointer, which must not run meanwhile.
  void restart_wal();

  // Finishes all that is queued; what comes later fails. Joins the thread.
  void stop();

 private:
  using Jobs = std::vector<std::unique_ptr<Job>>;
  struct Failure {
    StoreError error;
    bool may_be_one_job = false;  // the others of the batch may well succeed without it
  };
  class CountsJob;

  // --- the writer's thread
  void loop();
  bool next_batch(Jobs& batch);
  void run_batch(std::span<const std::unique_ptr<Job>> jobs);
  std::optional<Failure> transact(std::span<const std::unique_ptr<Job>> jobs);
  std::optional<Failure> failure(bool committing);
  bool begin_wal_anew();
  static int on_wal(void* writer, sqlite3*, const char*, int frames);

  // --- with mutex_ held
  void tend_wal(std::unique_lock<std::mutex>& lock);
  bool counts_due() const;
  std::unique_ptr<Job> take_counts();

  void put_back(const std::unordered_map<Digest, Counts>& counts,
                std::vector<std::function<void()>> dones);

  // Constant after construction.
  const Settings settings_;
  const World world_;

  // Of the writer's thread alone.
  Session session_;
  std::uint64_t page_bytes_ = 4096;
  std::uint64_t wal_bytes_ = 0;
  std::uint64_t wal_bytes_max_;
  std::optional<StoreError> broken_;  // set: nothing is written any more

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> urgent_, queue_;
  std::unordered_map<Digest, Counts> counts_;
  std::vector<std::function<void()>> counts_done_;
  std::chrono::steady_clock::time_point counts_due_at_{};
  bool counts_failed_ = false;  // to be tried again at counts_due_at_, not sooner
  bool restart_wal_ = false;
  std::condition_variable tried_restart_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace ledger::sqlite
