// What the process counts about itself, for GET /metrics. Shared by all threads; relaxed atomics.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "guard/tunnels.h"

namespace ledger {

// The values of the Ledger-Status header.
enum class CallStatus : std::uint8_t {
  executed,
  unsent,
  joined,
  replayed,
  blocked,
  in_flight,
  in_doubt,
  mismatch,
  passed,
  refused
};
constexpr std::array<std::string_view, 10> call_status_names = {
    "executed",  "unsent",   "joined",   "replayed", "blocked",
    "in-flight", "in-doubt", "mismatch", "passed",   "refused"};
constexpr std::string_view to_string(CallStatus s) {
  return call_status_names[static_cast<std::size_t>(s)];
}

// What the process does now; /readyz is 200 only while it serves.
enum class Phase : std::uint8_t { starting, serving, draining };

struct Metrics {
  std::atomic<Phase> phase{Phase::starting};
  std::array<std::atomic<std::uint64_t>, call_status_names.size()>
      calls{};  // answers given, by Ledger-Status
  std::atomic<std::uint64_t> settled_completed{0}, settled_released{0}, settled_in_doubt{0};
  std::atomic<std::uint64_t> store_errors{0};
  std::atomic<std::uint64_t> certificates_signed{0};  // for opened tunnels
  std::atomic<std::uint64_t> accepted{0};             // client connections so far
  std::atomic<std::int64_t> connections{0};           // client connections open now
  std::atomic<std::int64_t> executions{0};            // executions running now
  std::atomic<std::int64_t> waiters{0};               // duplicates waiting now
  std::atomic<std::size_t> memory_held{0};            // bytes of what limits.memory bounds
  std::atomic<std::int64_t> memory_waiters{0};        // calls waiting for some of it

  TunnelCounts tunnels;

  void count(CallStatus s) {
    calls[static_cast<std::size_t>(s)].fetch_add(1, std::memory_order_relaxed);
  }
};

}  // namespace ledger
