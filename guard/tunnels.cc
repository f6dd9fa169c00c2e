#include "guard/tunnels.h"

namespace ledger {

std::uint64_t TunnelCounts::count(const std::string& host, std::uint64_t Host::*what) {
  const std::lock_guard lock(mutex_);
  const bool told = hosts_.size() < hosts_max || hosts_.contains(host);
  return ++(hosts_[told ? host : std::string(others)].*what);
}

std::map<std::string, TunnelCounts::Host> TunnelCounts::all() const {
  const std::lock_guard lock(mutex_);
  return hosts_;
}

TunnelCounts::Host TunnelCounts::of(const std::string& host) const {
  const std::lock_guard lock(mutex_);
  const auto found = hosts_.find(host);
  return found == hosts_.end() ? Host() : found->second;
}

}  // namespace ledger
