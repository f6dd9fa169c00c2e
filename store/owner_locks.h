// One OS lock for each running instance, so that its death shows at once, however it died.
//
// The locks are open-file-description locks (F_OFD_SETLK, fcntl(2)) on single bytes of a side file
// next to the database. The kernel drops them when the last descriptor closes, which a killed
// process's does; and, unlike classic POSIX locks, they are not lost when another part of the
// process closes the same file, and two stores in one process exclude each other.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <tl/expected.hpp>

namespace ledger {

// Is what the descriptor stands for the file that the path names now?
bool same_file(int fd, const std::string& path);

class OwnerLocks {
 public:
  // The file is opened when it is first needed.
  explicit OwnerLocks(std::string path) : path_(std::move(path)) {}
  ~OwnerLocks();
  OwnerLocks(const OwnerLocks&) = delete;
  OwnerLocks& operator=(const OwnerLocks&) = delete;

  // Takes the byte `slot` (> 0) until unlock() or the end of this object or process. The error says
  // what failed: one sentence.
  tl::expected<void, std::string> lock(std::int64_t slot);
  void unlock(std::int64_t slot);

  // Does anyone, this object included, hold `slot` in the file that the path names now? False where
  // there is no file; a lock on a file that was removed or replaced is worth nothing.
  bool held(std::int64_t slot) const;

 private:
  const std::string path_;

  mutable std::mutex mutex_;  // guards what follows
  int locking_ = -1;          // the description that holds our locks
  mutable int looking_ = -1;  // another, since a description never conflicts with itself
};

}  // namespace ledger
