#include "proxy/descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <limits>

namespace ledger {
namespace {

// The store's files, those of SQLite's moment, name look-ups, and the admin endpoint's connections.
constexpr std::size_t kept_most = 64, kept_part = 4;

std::size_t limit() {
  rlimit now{};
  getrlimit(RLIMIT_NOFILE, &now);
  return now.rlim_cur;
}

// As the limit itself, this is the process's.
std::atomic<std::size_t> first_kept{std::numeric_limits<std::size_t>::max()};

std::size_t kept_of(std::size_t all) { return std::min(kept_most, all / kept_part); }

std::size_t open_now() {
  const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (lowest_free < 0) return limit();
  ::close(lowest_free);
  return static_cast<std::size_t>(lowest_free);
}

}  // namespace

rlimit raise_descriptor_limit() {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  auto raised = before;
  raised.rlim_cur = raised.rlim_max;
  set_descriptor_limit(raised);
  first_kept = limit() - kept_of(limit());
  return before;
}

void set_descriptor_limit(const rlimit& limit) { setrlimit(RLIMIT_NOFILE, &limit); }

bool is_kept(int descriptor) {
  return descriptor >= 0 &&
         static_cast<std::size_t>(descriptor) >= first_kept.load(std::memory_order_relaxed);
}

std::size_t connections_possible(std::size_t opened_later) {
  const auto all = limit();
  const auto taken = kept_of(all) + open_now() + opened_later;
  return all > taken + 2 ? (all - taken) / 2 : 1;
}

}  // namespace ledger
