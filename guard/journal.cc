#include "guard/journal.h"

namespace ledger {
namespace {

constexpr std::size_t lines_a_second = 20;
constexpr std::chrono::seconds a_second{1}, a_minute{60};

std::string calls(std::size_t n) { return std::to_string(n) + (n == 1 ? " call" : " calls"); }

}  // namespace

std::string call_of(const Record& record) {
  // The query may hold more than a log should.
  return (record.route.empty() ? "(no route)" : record.route) + " " + record.method + " " +
         record.url.substr(0, record.url.find('?')) +
         (record.label.empty() ? "" : " (" + record.label + ")");
}

Journal::~Journal() {
  say_left_out(calls_);
  say_left_out(clients_);
}

void Journal::say(const std::string& line, Lines& lines) {
  const std::lock_guard lock(mutex_);
  const auto now = SteadyClock::now();
  if (now - lines.second >= a_second) {
    say_left_out(lines);
    lines.second = now;
    lines.said = 0;
  }
  if (lines.said++ < lines_a_second)
    log_(line);
  else
    ++lines.left_out;
}

void Journal::tick() {
  const std::lock_guard lock(mutex_);
  for (auto* lines : {&calls_, &clients_})
    if (SteadyClock::now() - lines->second >= a_second) say_left_out(*lines);
}

void Journal::say_left_out(Lines& lines) {
  if (lines.left_out == 0) return;
  log_(std::to_string(lines.left_out) + " more such lines within a second were left out");
  lines.left_out = 0;
}

void Journal::doubt(const Record& record) {
  const auto id = to_hex(record.id).substr(0, 8);
  const auto why = record.history.empty() ? std::string() : record.history.back().detail;
  say("in doubt: " + id + " " + call_of(record) + (why.empty() ? "" : ": " + why));
}

void Journal::store_failed(const std::string& why, bool refused) {
  const std::lock_guard lock(mutex_);
  const auto now = SteadyClock::now();
  refused_ += refused ? 1 : 0;
  if (!failing_.exchange(true)) {
    failing_since_ = failing_said_ = now;
    log_("the store fails: " + why + "; guarded calls are refused until it works again");
  } else if (now - failing_said_ >= a_minute) {
    failing_said_ = now;
    log_("the store still fails, and " + calls(refused_) + " were refused so far: " + why);
  }
}

void Journal::store_recovered() {
  const std::lock_guard lock(mutex_);
  if (!failing_.exchange(false)) return;
  const auto lasted =
      std::chrono::duration_cast<std::chrono::seconds>(SteadyClock::now() - failing_since_);
  log_("the store works again after " + std::to_string(lasted.count()) + " s; " + calls(refused_) +
       (refused_ == 1 ? " was" : " were") + " refused meanwhile");
  refused_ = 0;
}

}  // namespace ledger
