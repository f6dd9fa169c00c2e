// Keeps the write-ahead log short without the committing thread's help.
//
// A PASSIVE checkpoint copies the log into the database beside running writers, but under steady
// writing it never catches up with the log's end, and a log that is never whole copied never begins
// anew. So when the log is long after a checkpoint, the writer is asked to copy the little that is
// left, between two of its transactions, and to start from the log's front
// (https://sqlite.org/wal.html, "Avoiding Excessively Large WAL Files").
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "store/metrics.h"
#include "store/sqlite_db.h"

namespace ledger::sqlite {

class Checkpointer {
 public:
  struct Settings {
    std::uint64_t step_bytes;  // a checkpoint for each so much log
    std::uint64_t long_bytes;  // the log should begin anew
  };

  // `restart_wal` is called from the checkpointer's thread.
  Checkpointer(std::unique_ptr<Connection> db, Settings settings, StoreMetrics& metrics,
               std::function<void()> restart_wal);
  ~Checkpointer();  // stop()

  // Tells how long the log is after a commit. Cheap.
  void committed(std::uint64_t wal_bytes);
  void stop();

 private:
  void loop();
  std::uint64_t checkpoint();

  // Constant after construction.
  const Settings settings_;
  StoreMetrics& metrics_;
  const std::function<void()> restart_wal_;

  std::unique_ptr<Connection> db_;  // of the checkpointer's thread alone
  std::uint64_t seen_bytes_ = 0;    // of the writer's thread alone: the log when last asked

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::uint64_t asked_bytes_ = 0;  // 0: nothing to do
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace ledger::sqlite
