#include "store/sqlite_checkpoint.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>

namespace ledger::sqlite {
namespace {

// What a checkpoint writes before it has the disk take that in. Left to the fsync at its end, all
// of it would go there at once, and the commits beside it would wait behind that.
constexpr ssize_t portion_bytes = ssize_t{64} << 10;
// So much may be left to the writer to copy, between two of its transactions.
constexpr std::uint64_t small_rest_bytes = std::uint64_t{512} << 10;
constexpr int rounds_max = 4;

thread_local bool checkpointing = false;

// SQLite's pwrite64(). An error of the disk that is told here is not told again by the fsync
// (sync_file_range(2); Linux's errseq_t), so it is the write that fails: the log is kept.
ssize_t write_in_portions(int fd, const void* data, std::size_t size, off64_t offset) {
  const ssize_t written = pwrite64(fd, data, size, offset);
  static thread_local ssize_t waiting = 0;
  if (!checkpointing || written <= 0 || (waiting += written) < portion_bytes) return written;
  waiting = 0;
  constexpr unsigned take_in =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const bool failed = sync_file_range(fd, 0, 0, take_in) != 0;
  return failed && (errno == EIO || errno == ENOSPC || errno == EDQUOT) ? -1 : written;
}

// Our VFS (store/sqlite_vfs.h) cannot do it: it does not know the file's descriptor, and to open
// the file once more would lose its locks (https://sqlite.org/howtocorrupt.html, section 2.2).
void replace_pwrite() {
  static const bool once [[maybe_unused]] = [] {
    sqlite3_vfs* system = sqlite3_vfs_find("unix");
    if (system && system->iVersion >= 3)
      for (const char* name : {"pwrite", "pwrite64"})  // which of them depends on SQLite's build
        system->xSetSystemCall(system, name,
                               reinterpret_cast<sqlite3_syscall_ptr>(&write_in_portions));
    return true;
  }();
}

}  // namespace

Checkpointer::Checkpointer(std::unique_ptr<Connection> db, Settings settings, StoreMetrics& metrics,
                           std::function<void()> restart_wal)
    : settings_(settings),
      metrics_(metrics),
      restart_wal_(std::move(restart_wal)),
      db_(std::move(db)) {
  replace_pwrite();
  thread_ = std::thread([this] { loop(); });
}

Checkpointer::~Checkpointer() { stop(); }

void Checkpointer::committed(std::uint64_t wal_bytes) {
  if (wal_bytes < seen_bytes_) seen_bytes_ = 0;  // it began anew
  if (wal_bytes - seen_bytes_ < settings_.step_bytes) return;
  seen_bytes_ = wal_bytes;
  std::lock_guard guard(mutex_);
  asked_bytes_ = wal_bytes;
  wake_.notify_one();
}

void Checkpointer::stop() {
  {
    std::lock_guard guard(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void Checkpointer::loop() {
  checkpointing = true;
  for (;;) {
    std::uint64_t bytes = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return asked_bytes_ != 0 || stopping_; });
      if (stopping_) return;
      bytes = std::exchange(asked_bytes_, 0);
    }
    // What is committed while a checkpoint runs is the rest that the writer will have to copy.
    const bool restart = bytes >= settings_.long_bytes;
    int rounds = restart ? rounds_max : 1;
    while (checkpoint() > small_rest_bytes && --rounds > 0) {
    }
    if (restart) restart_wal_();
  }
}

// Copies what the log holds. Returns how much was committed meanwhile, in bytes of log.
std::uint64_t Checkpointer::checkpoint() {
  const auto before = metrics_.wal_bytes.load(std::memory_order_relaxed);
  const int code =
      sqlite3_wal_checkpoint_v2(db_->raw(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  metrics_.checkpoints.fetch_add(1, std::memory_order_relaxed);
  if (code != SQLITE_OK && code != SQLITE_BUSY)  // busy: another process is at it
    metrics_.checkpoint_failures.fetch_add(1, std::memory_order_relaxed);
  if (code != SQLITE_OK) return 0;
  const auto after = metrics_.wal_bytes.load(std::memory_order_relaxed);
  return after > before ? after - before : 0;
}

}  // namespace ledger::sqlite
