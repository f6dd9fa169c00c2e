// Linked into `ledger_crash` only. LEDGER_CRASH_POINT=claimed kills the process at that point
// (guard/crash_point.h); claimed:stop stops it there, until somebody sends SIGCONT.
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "guard/crash_point.h"

namespace ledger {
namespace {

std::string wanted;  // NOLINT: read by every thread, written before any of them starts
int signal_there = SIGKILL;
std::atomic<bool> reached{false};

void die_at(const char* point) {
  if (wanted != point || reached.exchange(true)) return;
  raise(signal_there);  // to this very thread, so that it goes no further; the others follow
}

[[maybe_unused]] const bool set = [] {
  const char* const value = std::getenv("LEDGER_CRASH_POINT");
  if (value == nullptr) return false;
  wanted = value;
  if (const auto colon = wanted.find(':'); colon != std::string::npos) {
    if (wanted.substr(colon) == ":stop") signal_there = SIGSTOP;
    wanted.resize(colon);
  }
  crash_hook = die_at;
  return true;
}();

}  // namespace
}  // namespace ledger
