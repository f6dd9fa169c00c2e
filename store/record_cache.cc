#include "store/record_cache.h"

#include <utility>

namespace ledger {
namespace {

constexpr std::size_t answer_max = 64 * 1024;         // bytes; a longer one is read each time
constexpr std::size_t generation_bytes = 256 * 1024;  // of a shard: 8 MiB in all
constexpr std::size_t entry_bytes = 2048;             // what an entry costs beside the body
// Less than attempts are counted in memory (guard/attempts.h): an entry's counts stay as they were
// read.
constexpr std::chrono::seconds age_max{55};

}  // namespace

std::shared_ptr<const Found> RecordCache::get(const Digest& id) {
  if (!marks_ || blind_.load(std::memory_order_relaxed)) return nullptr;
  auto& s = shard(id);
  std::lock_guard lock(s.mutex);
  for (auto* generation : {&s.young, &s.old}) {
    const auto at = generation->find(id);
    if (at == generation->end()) continue;
    const auto& entry = at->second;
    if (entry.mark == marks_->of(id) && Clock::now() - entry.read_at < age_max) return entry.found;
    generation->erase(at);
  }
  return nullptr;
}

void RecordCache::put(const Digest& id, std::uint64_t mark, const Found& found) {
  const auto& record = found.record;
  if (!ChangeMarks::steady(mark) || !record || record->state != State::completed ||
      !record->answer || record->answer->body.size() > answer_max)
    return;
  Entry entry{mark, Clock::now(), std::make_shared<const Found>(found)};
  auto& s = shard(id);
  std::lock_guard lock(s.mutex);
  s.young_bytes += entry_bytes + record->answer->body.size();
  if (s.young_bytes > generation_bytes) {
    s.old = std::exchange(s.young, {});
    s.young_bytes = entry_bytes + record->answer->body.size();
  }
  s.young.insert_or_assign(id, std::move(entry));
}

void RecordCache::check_marks() {
  if (marks_ && !marks_->in_place()) blind_ = true;
}

}  // namespace ledger
