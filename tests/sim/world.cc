#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>

#include "guard/crash_point.h"
#include "store/memory.h"

namespace ledger::sim {
namespace {

using std::chrono::milliseconds;

// Nobody may be left waiting then.
constexpr Time the_end{1'800'000};
constexpr std::uint64_t moments_max =
    1'000'000;  // a history that stands still is a mistake of ours
// Clocks begin somewhere, not at nought.
constexpr Nanoseconds began = std::chrono::hours(1000);

thread_local World* traced_world = nullptr;
void trace_point(const char* point) {
  if (traced_world != nullptr) traced_world->trace(point);
}

}  // namespace

World::World(const Scenario& scenario, bool tracing)
    : scenario_(scenario),
      tracing_(tracing),
      auditor_(scenario.rules()),
      memory_(
          make_memory_store([] { return Instant(std::chrono::floor<milliseconds>(true_time)); })),
      store_(*memory_, [this](const auto& id, const auto& record) { written(id, record); }),
      random_(scenario.seed, 100),
      upstream_(scenario, *this) {
  true_time = began;
  traced_world = tracing ? this : nullptr;
  crash_hook = tracing ? trace_point : nullptr;
  Route route{std::string(1, 'r'), {}, scenario.policy};
  config_.routes.push_back(std::move(route));
  nodes_.resize(static_cast<std::size_t>(scenario.nodes));
  for (int i = 0; i < scenario.nodes; ++i) start_node(i);
  for (const auto& action : scenario.actions) {
    ++actions_left_;
    later(action.at, [this, &action] {
      --actions_left_;
      act(action);
    });
  }
}

World::~World() {
  store_.stop_watching();
  crash_hook = nullptr;
  traced_world = nullptr;
}

Time World::now() const { return std::chrono::floor<milliseconds>(true_time); }

void World::later(Time after, std::function<void()> what) {
  due_.push({now() + after, ++order_, std::move(what)});
}

void World::trace(const std::string& line) {
  char at[32];
  std::snprintf(at, sizeof at, "%8lld ms  ",
                static_cast<long long>((now() - std::chrono::floor<milliseconds>(began)).count()));
  trace_.push_back(std::string(at).append(line));
}

std::optional<Violation> World::run() {
  for (std::uint64_t moments = 0;
       !auditor_.violation() && moments < moments_max && (step_one() || advance()); ++moments) {
  }
  if (!auditor_.violation()) auditor_.finish();
  totals_.effects = auditor_.effects();
  store_.stop_watching();
  return auditor_.violation();
}

// One handler of one instance, any of those that could run now.
bool World::step_one() {
  const auto first = random_.below(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    auto& node = *nodes_[(first + i) % nodes_.size()];
    if (!node.alive || node.stands_still_until > now() || !node.step()) continue;
    ++totals_.steps;
    if (!node.holding && node.faulty.held() > 0) hold(node);
    if (++node.steps >= node.dies_at_step) crash(node);
    return true;
  }
  return false;
}

bool World::is_over() const {
  return actions_left_ == 0 &&
         std::none_of(calls_.begin(), calls_.end(), [](const Called& c) { return c.open; });
}

// To the next moment at which something happens.
bool World::advance() {
  if (is_over() || now() > began + the_end) return false;
  auto next = Nanoseconds::max();
  if (!due_.empty()) next = due_.top().at;
  for (const auto& node : nodes_)
    if (node->alive && node->stands_still_until <= now()) next = std::min(next, node->next_timer());
  true_time = std::max(true_time, next);
  for (const auto& node : nodes_)
    if (node->alive && node->stands_still_until <= now()) node->fire_timers();
  if (!due_.empty() && due_.top().at <= now()) {
    auto what = due_.top().what;
    due_.pop();
    what();
  }
  return true;
}

}  // namespace ledger::sim
