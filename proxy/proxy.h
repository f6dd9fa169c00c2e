// What all sessions share: constant after construction, but for the counters and the drain flag.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "guard/guard.h"
#include "guard/metrics.h"
#include "proxy/upstream.h"

namespace ledger {

struct Proxy {
  Proxy(const Config& config, Guard& guard, Metrics& metrics, std::string secret, std::string via);

  const Config& config;
  Guard& guard;
  Metrics& metrics;
  std::string secret;  // of the store: keys the credentials' HMAC
  std::string via;     // our pseudonym in Via, one a process
  std::vector<Endpoint>
      own;  // every address that we listen on, the admin's included; set at the start

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
  Worker(const Config& config, std::shared_ptr<asio::ssl::context> upstream_tls)
      : deadlines(context), pool(deadlines, std::move(upstream_tls), config) {}
  asio::io_context context{1};
  Deadlines deadlines;
  UpstreamPool pool;
};

}  // namespace ledger
