#include "guard/lease.h"

#include "store/store.h"

namespace ledger {

namespace {
constexpr std::chrono::seconds margin{2};
}

void Lease::granted(std::string instance, std::chrono::nanoseconds asked_at) {
  std::lock_guard lock(mutex_);
  instance_ = std::move(instance);
  until_ = asked_at + lease_duration;
}

void Lease::lost() {
  std::lock_guard lock(mutex_);
  until_ = std::chrono::nanoseconds(0);
}

std::string Lease::instance() const {
  std::lock_guard lock(mutex_);
  return instance_;
}

bool Lease::stands(const std::string& instance) const {
  std::lock_guard lock(mutex_);
  return instance == instance_ && time_since_boot() + margin < until_;
}

}  // namespace ledger
