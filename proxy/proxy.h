// What all sessions share: constant after construction, but for the counters and the drain flag.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "guard/guard.h"
#include "guard/metrics.h"
#include "proxy/aside.h"
#include "proxy/interception.h"
#include "proxy/peers.h"
#include "proxy/reach.h"
#include "proxy/replays.h"
#include "proxy/upstream.h"

namespace ledger {

struct Proxy {
  // A line for the operator's log; may be called from any thread.
  using Log = std::function<void(const std::string& line)>;
  Proxy(const Config& config, Guard& guard, Metrics& metrics, std::string secret, std::string via,
        Log log);

  const Config& config;
  Guard& guard;
  Metrics& metrics;
  std::string secret;  // of the store: keys the credentials' HMAC
  std::string via;     // our pseudonym in Via, one a process
  Log log;
  // Opens tunnels; null where no route asks for it, or where `no_interception` says why it cannot.
  // Set at the start.
  std::unique_ptr<Interception> interception;
  std::string no_interception;
  std::vector<Listener> listeners;  // as bound; set at the start, as is:
  std::unique_ptr<Reach> reach;

  Peers peers;
  Replays replays;
  Aside aside;

  std::atomic<bool> draining{false};
  std::atomic<int> guarded_calls{0};  // being answered now: drain waits for these
  std::atomic<int> passing_calls{0};

  // `policy` with the upstream key of the mount or listener that the call came in by, where the
  // policy has none of its own.
  const Policy& with_upstream_key(const Policy& policy, const std::string& key) const;

 private:
  std::map<std::pair<const Policy*, std::string>, Policy> with_key_;
};

// One thread's own: connections never leave it.
struct Worker {
  Worker(const Config& config, const UpstreamTls& tls, const Reach& reach)
      : deadlines(context), pool(deadlines, tls, config, reach) {}
  asio::io_context context{1};
  Deadlines deadlines;
  UpstreamPool pool;
};

}  // namespace ledger
