// Asks about records in doubt while nobody repeats their calls, on routes whose probe has
// credentials of its own. A thread of its own: it waits for the store.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <unordered_map>

#include "proxy/proxy.h"
#include "store/store.h"

namespace ledger {

class Prober {
 public:
  // Starts. What it is given must outlive it.
  Prober(const Config& config, Store& store, const UpstreamTls& tls, const Reach& reach);
  ~Prober();  // stops and joins

  // Is there a route that it would ask for?
  static bool is_needed(const Config& config);

 private:
  struct Turn {
    SteadyClock::time_point next;
    Duration pause;
  };
  Awaitable<> run();
  Awaitable<> round(const Route& route);
  Awaitable<> settle(const Route& route, const Digest& id);

  const Config& config_;
  Store& store_;
  Worker worker_;
  std::unordered_map<Digest, Turn> turns_;  // when each record is asked about again
  std::thread thread_;
};

}  // namespace ledger
