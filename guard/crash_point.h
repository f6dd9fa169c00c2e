// Named moments in a call's life at which a test lets the process die. In the product nobody sets
// the hook, so a point is one load of a pointer that is null; the test binary `ledger_crash` is the
// same objects and tests/crash_points.cc, which sets it.
#pragma once

namespace ledger {

// Set before main(), if at all.
inline void (*crash_hook)(const char* point) = nullptr;

inline void crash_point(const char* point) {
  if (crash_hook) [[unlikely]]
    crash_hook(point);
}

}  // namespace ledger
