// Completed records that were asked for again, in memory: the next repeat of such a call costs the
// store nothing. Coherent with every process on the store by ChangeMarks; counts may be behind.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "store/change_marks.h"
#include "store/store.h"

namespace ledger {

class RecordCache {
 public:
  // `marks`: nullptr where nothing may be remembered.
  explicit RecordCache(std::unique_ptr<ChangeMarks> marks) : marks_(std::move(marks)) {}

  // What stands right now; nullptr: ask the store.
  std::shared_ptr<const Found> get(const Digest& id);

  // Before a record is read: the mark to put() it under.
  std::uint64_t mark(const Digest& id) const { return marks_ ? marks_->of(id) : 1; }
  // Keeps a completed record with its answer, if it is not too long; nothing else.
  void put(const Digest& id, std::uint64_t mark, const Found& found);

  // nullptr: nobody needs to be told.
  ChangeMarks* marks() const { return marks_.get(); }
  // Remembers nothing more if others have ceased to see what this process marks.
  void check_marks();

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::uint64_t mark = 0;
    Clock::time_point read_at;
    std::shared_ptr<const Found> found;
  };
  using Entries = std::unordered_map<Digest, Entry>;
  // Two generations: when the young one is full it becomes the old one, which is forgotten.
  struct Shard {
    std::mutex mutex;
    Entries young, old;
    std::size_t young_bytes = 0;
  };
  Shard& shard(const Digest& id) { return shards_[id[27] % shards_.size()]; }

  const std::unique_ptr<ChangeMarks> marks_;
  std::atomic<bool> blind_{false};
  std::array<Shard, 16> shards_;
};

}  // namespace ledger
