// Does this instance's lease stand? Asked right before a call's first byte goes out.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>

namespace ledger {

// Time since boot, suspension included (CLOCK_BOOTTIME): a machine that slept through its lease
// knows.
std::chrono::nanoseconds time_since_boot();

class Lease {
 public:
  // The lease of `instance` was granted by a request that left at `asked_at`.
  void granted(std::string instance, std::chrono::nanoseconds asked_at);
  void lost();
  std::string instance() const;
  // True while the lease stands with a margin of 2 s; for `instance` only (a claim made under an
  // earlier one no longer counts).
  bool stands(const std::string& instance) const;

 private:
  mutable std::mutex mutex_;
  std::string instance_;
  std::chrono::nanoseconds until_{0};
};

}  // namespace ledger
