#include "guard/attempts.h"

#include <algorithm>

namespace ledger {

std::uint64_t& Attempts::place(Shard& shard, const Digest& id) {
  if (const auto now = SteadyClock::now(); now - shard.rotated > remembered) {
    shard.old = std::exchange(shard.young, {});
    shard.rotated = now;
  }
  auto [young, inserted] = shard.young.try_emplace(id, 0);
  if (inserted)
    if (auto old = shard.old.find(id); old != shard.old.end()) young->second = old->second;
  return young->second;
}

std::uint64_t Attempts::next(const Digest& id, std::uint64_t stored) {
  auto& shard = shards_[id[30] % shards_.size()];
  std::lock_guard lock(shard.mutex);
  auto& known = place(shard, id);
  known = std::max(known, stored) + 1;
  return known;
}

std::uint64_t Attempts::first(const Digest& id) {
  auto& shard = shards_[id[30] % shards_.size()];
  std::lock_guard lock(shard.mutex);
  return place(shard, id) = 1;
}

}  // namespace ledger
