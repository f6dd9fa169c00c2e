#include "proxy/proxy.h"

#include <set>

namespace ledger {

Proxy::Proxy(const Config& c, Guard& g, Metrics& m, std::string store_secret, std::string pseudonym,
             Log l)
    : config(c),
      guard(g),
      metrics(m),
      secret(std::move(store_secret)),
      via(std::move(pseudonym)),
      log(std::move(l)),
      peers(c),
      replays(g.memory()) {
  std::set<std::string> keys;
  for (const auto& mount : config.mounts) keys.insert(mount.upstream_key);
  for (const auto& listener : config.listeners) keys.insert(listener.upstream_key);
  keys.erase("");
  std::vector<const Policy*> policies{&config.defaults.once};
  for (const auto& route : config.routes) policies.push_back(&route.policy);
  for (const auto& key : keys)
    for (const auto* policy : policies)
      if (policy->upstream_key.empty()) {
        auto copy = *policy;
        use_upstream_key(copy, key);
        with_key_.emplace(std::pair{policy, key}, std::move(copy));
      }
}

const Policy& Proxy::with_upstream_key(const Policy& policy, const std::string& key) const {
  const auto found = with_key_.find({&policy, key});
  return found == with_key_.end() ? policy : found->second;
}

}  // namespace ledger
