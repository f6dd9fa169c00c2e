// Runs one scenario to its end: moves the time, steps the instances in an order of the seed's
// choosing, does what the scenario says, and tells the auditor.
//
// Threads: one. Everything is a function of the scenario.
#pragma once

#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "tests/sim/node.h"
#include "tests/sim/random.h"
#include "tests/sim/upstream.h"
#include "tests/sim/watched_store.h"

namespace ledger::sim {

struct Totals {
  std::uint64_t calls = 0, effects = 0, crashes = 0, steps = 0;
};

class World final : public Surroundings {
 public:
  World(const Scenario& scenario, bool tracing);
  ~World() override;

  std::optional<Violation> run();
  const std::vector<std::string>& traced() const { return trace_; }
  const Totals& totals() const { return totals_; }

  // --- Surroundings
  void later(Time after, std::function<void()> what) override;
  Time now() const override;
  Auditor& auditor() override { return auditor_; }
  void trace(const std::string& line) override;
  bool tracing() const override { return tracing_; }

 private:
  struct Due {
    Time at{0};
    std::uint64_t order = 0;
    std::function<void()> what;
    bool operator<(const Due& other) const {
      return std::tie(other.at, other.order) < std::tie(at, order);
    }
  };
  struct Called {
    int number = 0, key = 0;
    bool open = true;
    Node* node = nullptr;
  };

  // --- time (world.cc)
  bool step_one();
  bool advance();
  bool is_over() const;

  // --- what happens (happenings.cc)
  void start_node(int number);
  void beat(Node& node);
  void act(const Action& action);
  void call(Node& node, const Action& action);
  Awaitable<> client(Node& node, int number, int key, int fingerprint);
  Awaitable<Probed> ask(Node& node, int key, const Record& record);
  void answered(const Node& node, int number, int key, const Reply& reply);
  void crash(Node& node);
  void inject(Node& node, const Action& action);
  void hold(Node& node);
  void resolve(const Action& action);
  void remove(const Action& action);
  void written(const Digest& id, const MaybeRecord& record);

  const Scenario& scenario_;
  const bool tracing_;
  Auditor auditor_;
  Config config_;
  std::unique_ptr<Store> memory_;
  WatchedStore store_;
  Random random_;
  std::priority_queue<Due> due_;
  std::uint64_t order_ = 0;
  std::size_t actions_left_ = 0;
  bool by_person_ = false;  // a person's command runs now
  Upstream upstream_;
  std::vector<std::unique_ptr<Node>> graveyard_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Called> calls_;
  std::vector<std::string> trace_;
  Totals totals_;
};

}  // namespace ledger::sim
