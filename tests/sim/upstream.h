// The destination, scripted: it keeps what took effect, and (if it honours keys) its answers by
// key. Each sending is treated as the scenario's plan says; its bytes travel on their own, so they
// arrive even when their sender has died meanwhile.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "guard/decide.h"
#include "guard/exchange.h"
#include "tests/sim/scenario.h"

namespace ledger::sim {

// What the upstream needs of the world.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual void later(Time after, std::function<void()> what) = 0;
  virtual Time now() const = 0;
  virtual Auditor& auditor() = 0;
  virtual void trace(const std::string& line) = 0;
  virtual bool tracing() const = 0;
};

// One connection with one sending: what has come back so far. The reader waits on `reader`.
struct Wire {
  bool has_head = false, done = false;
  AnswerHead head;
  std::deque<std::string> pieces;
  std::string error;
  Timer* reader = nullptr;  // null: nobody listens any more
  void wake() {
    if (reader != nullptr) reader->cancel();
  }
};
using WirePtr = std::shared_ptr<Wire>;

class Upstream {
 public:
  Upstream(const Scenario& scenario, Surroundings& world) : scenario_(scenario), world_(world) {}

  std::unique_ptr<Exchange> exchange(int key, const Record& claimed, const Executor& executor);
  // What a probe for this execution finds now.
  std::optional<std::string> effect_of(int key, std::uint64_t generation) const;

  // --- for exchanges
  Dial dial(int key) { return scenario_.dial(key, dials_[key]++); }
  void send(int key, std::uint64_t generation, const std::string& upstream_key,
            const WirePtr& wire);

 private:
  struct Sending {
    int key = 0, number = 0;
    std::uint64_t generation = 0;
    std::string upstream_key;
    Plan plan;
    WirePtr wire;
  };
  struct Known {
    bool running = true;
    int status = 0;
    std::string body;
  };
  void arrive(const Sending& sending);
  void finish(const Sending& sending);
  std::string take_effect(const Sending& sending);
  void answer(const Sending& sending, int status, const std::string& body, bool retry_after);
  void closed(const Sending& sending);
  bool honours(const Sending& s) const { return scenario_.honours && !s.upstream_key.empty(); }

  const Scenario& scenario_;
  Surroundings& world_;
  std::map<int, int> dials_, sendings_;
  std::map<std::string, Known> known_;  // by upstream key
  std::map<std::pair<int, std::uint64_t>, std::string> effects_;
  int effect_count_ = 0, wire_count_ = 0;
};

}  // namespace ledger::sim
