// What the SQLite store did since it was opened: for /metrics, and for tests of group commit.
#pragma once

#include <atomic>
#include <cstdint>

namespace ledger {

// Counters that any thread may read at any time.
struct StoreMetrics {
  std::atomic<std::uint64_t> commits{0};    // transactions that wrote; one fsync each when durable
  std::atomic<std::uint64_t> unwritten{0};  // transactions that had nothing to write
  std::atomic<std::uint64_t> failed{0};     // transactions that failed
  std::atomic<std::uint64_t> swaps{0};      // replace() that swapped
  std::atomic<std::uint64_t> conflicts{0};  // replace() that found something else
  std::atomic<std::uint64_t> loads{0};
  std::atomic<std::uint64_t> checkpoints{0};  // runs of the checkpoint thread
  std::atomic<std::uint64_t> checkpoint_failures{0};
  std::atomic<std::uint64_t> wal_resets{0};  // times the write-ahead log began anew by our doing
  std::atomic<std::uint64_t> wal_bytes{0};   // its length after the latest commit
};

}  // namespace ledger
