#include "proxy/replays.h"

namespace ledger {

Replays::HeldPtr Replays::hold(const Digest& id, AnswerPtr answer) {
  if (auto held = find(id, *answer)) return held;
  MemoryBudget::Share share(budget_);
  if (!share.try_take(answer->body.size())) return nullptr;
  return hold(id, std::move(answer), std::move(share));
}

Replays::HeldPtr Replays::hold(const Digest& id, AnswerPtr answer, MemoryBudget::Share share) {
  if (auto held = find(id, *answer)) return held;
  auto held = std::make_shared<const Held>(*this, id, std::move(answer), std::move(share));
  const std::lock_guard lock(mutex_);
  held_[id] = held;
  return held;
}

// A store may read a record's answer anew for each who asks.
Replays::HeldPtr Replays::find(const Digest& id, const Answer& answer) const {
  HeldPtr held;
  {
    const std::lock_guard lock(mutex_);
    if (const auto at = held_.find(id); at != held_.end()) held = at->second.lock();
  }
  const bool same =
      held &&
      (held->answer.get() == &answer ||
       (held->answer->received_at == answer.received_at && held->answer->status == answer.status &&
        held->answer->headers == answer.headers && held->answer->body == answer.body));
  return same ? held : nullptr;
}

void Replays::forget(const Digest& id) {
  const std::lock_guard lock(mutex_);
  const auto at = held_.find(id);
  if (at != held_.end() && at->second.expired()) held_.erase(at);
}

}  // namespace ledger
