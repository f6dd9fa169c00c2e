// The store in one SQLite file. docs/store.md says how it keeps the contract of store/store.h.
//
//   <path>, <path>-wal, <path>-shm   the database and its log
//   <path>.owners                    the OS locks of running instances, and a page of change marks
//
// Several processes on one machine may share the file (not over a network drive).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "store/clock.h"
#include "store/metrics.h"
#include "store/store.h"

namespace ledger {

struct SqliteOptions {
  bool full_durability =
      true;            // fsync at each commit; false: a power cut may lose the last commits
  bool create = true;  // false: the file must be there and be a store
  Clock clock = system_now;
  std::vector<std::string>* notices = nullptr;  // see open_store()

  // For tests.
  std::chrono::milliseconds counts_delay{25};  // how long count() may wait to be written
  std::uint64_t checkpoint_bytes = std::uint64_t{16} << 20;
  // For other processes' locks: long enough for their commits, short against the 10 s of a lease.
  std::chrono::milliseconds busy_wait{5000};
  std::string vfs;              // SQLite VFS to open with; empty: the system's
  std::uint64_t pages_max = 0;  // of the database; 0: no bound
};

namespace sqlite {
class Writer;
class Reader;
class Checkpointer;
class Inspector;
}  // namespace sqlite
class OwnerLocks;
class RecordCache;

class SqliteStore final : public Store {
 public:
  // The error names the file and says what to do.
  static tl::expected<std::unique_ptr<SqliteStore>, StoreError> open(const std::string& path,
                                                                     const SqliteOptions& options);
  // Finishes what is queued: every `done` was called when this returns. Instances that did not
  // leave are dead from now on.
  ~SqliteStore() override;

  void load(const Digest& id, std::function<void(tl::expected<Found, StoreError>)> done) override;
  std::shared_ptr<const Found> recall(const Digest& id) override;
  void replace(Replace write,
               std::function<void(tl::expected<Replaced, StoreError>)> done) override;
  void count(std::vector<CountDelta> deltas, std::function<void()> done) override;
  tl::expected<Page, StoreError> scan(const Query& query) override;
  tl::expected<std::vector<RouteStats>, StoreError> stats() override;
  tl::expected<std::size_t, StoreError> reap(std::size_t limit) override;
  const std::string& secret() const override { return secret_; }
  Instant now() override { return clock_(); }
  tl::expected<std::string, StoreError> join_instance() override;
  tl::expected<bool, StoreError> heartbeat(const std::string& instance) override;
  void leave_instance(const std::string& instance) override;
  tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit) override;
  tl::expected<void, StoreError> check_writable() override;

  const StoreMetrics& metrics() const { return metrics_; }

 private:
  SqliteStore(std::string path, Clock clock);
  tl::expected<void, StoreError> start(const SqliteOptions& options);

  // Constant after start(); each is its own guard.
  const std::string path_;
  const Clock clock_;
  std::string secret_;
  StoreMetrics metrics_;
  std::unique_ptr<OwnerLocks> locks_;
  std::unique_ptr<RecordCache> cache_;
  // The writer's connection is the last to close: it knows whether the log may be folded in.
  std::unique_ptr<sqlite::Writer> writer_;
  std::unique_ptr<sqlite::Checkpointer> checkpointer_;
  std::unique_ptr<sqlite::Reader> reader_;
  std::unique_ptr<sqlite::Inspector> inspector_;
};

}  // namespace ledger
