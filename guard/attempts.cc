#include "guard/attempts.h"

#include <algorithm>

namespace ledger {

std::uint64_t Attempts::next(const Digest& id, std::uint64_t stored) {
  auto& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  if (const auto now = SteadyClock::now(); now - shard.rotated > remembered) {
    shard.old = std::exchange(shard.young, {});
    shard.rotated = now;
  }
  auto [young, inserted] = shard.young.try_emplace(id, 0);
  if (inserted)
    if (auto old = shard.old.find(id); old != shard.old.end()) young->second = old->second;
  return young->second = std::max(young->second, stored) + 1;
}

std::uint64_t Attempts::first(const Digest& id) {
  auto& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  shard.young.erase(id);
  shard.old.erase(id);
  return 1;
}

}  // namespace ledger
