// Which keys are being worked on in this process: the first call of a key leads, the others wait
// for what it finds. Sharded by key; no I/O under a lock. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "guard/async.h"
#include "guard/decide.h"
#include "store/store.h"

namespace ledger {

// What the leader of a key came to.
struct LookedUp {
  Found found;
};  // nothing was sent: the store holds this
struct Shared {
  Outcome outcome;
  Digest fingerprint;
};  // it was sent, and this came of it
struct StoreFailed {
  StoreError error;
};
using Finding = std::variant<LookedUp, Shared, StoreFailed>;

class InFlight {
 public:
  class Work;  // one key's entry
  using WorkPtr = std::shared_ptr<Work>;

  // The leader's hold on its key: move-only. Dropped without finish(), it tells the waiters that
  // the outcome is unknown -- never that the key is free.
  class Entry {
   public:
    Entry() = default;
    Entry(InFlight& table, WorkPtr work) : table_(&table), work_(std::move(work)) {}
    Entry(Entry&& other) noexcept : table_(other.table_), work_(std::move(other.work_)) {}
    Entry& operator=(Entry&& other) noexcept;
    ~Entry();
    // The claim stands: from now on duplicates know that the call is being executed, and as what.
    void executing(const Digest& fingerprint);
    void finish(Finding finding);
    explicit operator bool() const { return work_ != nullptr; }

   private:
    InFlight* table_ = nullptr;
    WorkPtr work_;
  };

  // Leads the key, or waits with others. Exactly one of the two is set.
  struct Joined {
    Entry lead;
    WorkPtr follow;
  };
  Joined join(const Digest& id);

  // Of a key that somebody else leads: its fingerprint once it is being executed.
  static std::optional<Digest> executing(const WorkPtr& work);

  // From now on findings wake nobody: the threads of the waiters are gone.
  void close() { closed_ = true; }

  // Waits for the leader's finding, at most until `deadline`; nullptr when that passes first.
  static Awaitable<std::shared_ptr<const Finding>> wait(WorkPtr work,
                                                        SteadyClock::time_point deadline);

 private:
  void remove(const Work& work);

  struct Shard {
    std::mutex mutex;
    std::unordered_map<Digest, WorkPtr> works;
  };
  std::array<Shard, 64> shards_;
  std::atomic<bool> closed_{false};
  Shard& shard(const Digest& id) { return shards_[id[31] % shards_.size()]; }
};

class InFlight::Work {
 public:
  explicit Work(const Digest& id) : id_(id) {}

 private:
  friend class InFlight;
  const Digest id_;
  std::mutex mutex_;
  std::optional<Digest> executing_;             // guarded by mutex_
  std::shared_ptr<const Finding> finding_;      // guarded by mutex_
  std::vector<std::function<void()>> waiters_;  // guarded by mutex_
};

}  // namespace ledger
