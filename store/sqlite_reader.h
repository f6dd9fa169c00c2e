// The thread that serves load(), on a connection of its own: in WAL mode a reader never waits for a
// writer's fsync, and sees all that was committed before it began.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "store/clock.h"
#include "store/metrics.h"
#include "store/owner_locks.h"
#include "store/sqlite_tables.h"

namespace ledger::sqlite {

class Reader {
 public:
  using Done = std::function<void(tl::expected<Found, StoreError>)>;

  // The references outlive the reader.
  Reader(Session session, const std::string& path, const Clock& clock, const OwnerLocks& locks,
         StoreMetrics& metrics);
  ~Reader();  // stop()

  void load(const Digest& id, Done done);
  // Answers all that is queued; what comes later fails. Joins the thread.
  void stop();

 private:
  struct Load {
    Digest id;
    Done done;
  };
  void loop();
  void serve(std::vector<Load>& loads);

  // Constant after construction.
  const std::string& path_;
  const Clock& clock_;
  const OwnerLocks& locks_;
  StoreMetrics& metrics_;

  Session session_;  // of the reader's thread alone

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Load> queue_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace ledger::sqlite
