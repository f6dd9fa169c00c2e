// How many times each key was asked for, exact within the process: the store's own counts are
// written behind, so what was counted here lately is remembered here.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "fingerprint/digest.h"
#include "guard/async.h"

namespace ledger {

class Attempts {
 public:
  // A call asked for the key; which attempt is it? `stored`: the store's count without this one, as
  // far as it is known.
  std::uint64_t next(const Digest& id, std::uint64_t stored);
  // The key's counts began anew with a call that the store has counted. Takes no memory: most keys
  // are asked for once.
  std::uint64_t first(const Digest& id);

 private:
  // Remembered for one to two minutes, long after the store has caught up.
  static constexpr std::chrono::minutes remembered{1};
  struct Shard {
    std::mutex mutex;
    std::unordered_map<Digest, std::uint64_t> young, old;
    SteadyClock::time_point rotated{};
  };
  Shard& shard_of(const Digest& id) { return shards_[id[30] % shards_.size()]; }
  std::array<Shard, 16> shards_;
};

}  // namespace ledger
