#include "store/sqlite_checkpoint.h"

#include <sqlite3.h>

namespace ledger::sqlite {

Checkpointer::Checkpointer(std::unique_ptr<Connection> db, Settings settings, StoreMetrics& metrics,
                           std::function<void()> restart_wal)
    : settings_(settings),
      metrics_(metrics),
      restart_wal_(std::move(restart_wal)),
      db_(std::move(db)),
      thread_([this] { loop(); }) {}

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
  for (;;) {
    std::uint64_t bytes = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return asked_bytes_ != 0 || stopping_; });
      if (stopping_) return;
      bytes = std::exchange(asked_bytes_, 0);
    }
    const int code =
        sqlite3_wal_checkpoint_v2(db_->raw(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    metrics_.checkpoints.fetch_add(1, std::memory_order_relaxed);
    if (code != SQLITE_OK && code != SQLITE_BUSY)  // busy: another process is at it
      metrics_.checkpoint_failures.fetch_add(1, std::memory_order_relaxed);
    if (bytes >= settings_.long_bytes) restart_wal_();
  }
}

}  // namespace ledger::sqlite
