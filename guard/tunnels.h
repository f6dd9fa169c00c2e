// How often each host's tunnels were opened, and how often they went by unseen: for the log,
// /metrics, /api/stats.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace ledger {

// Any thread. Hosts are what callers say, so only so many are told apart; the others count
// together.
class TunnelCounts {
 public:
  static constexpr std::size_t hosts_max = 1000;
  static constexpr std::string_view others = "(other hosts)";
  struct Host {
    std::uint64_t opened = 0;  // tunnels whose calls are read
    std::uint64_t blind = 0;   // tunnels that went by, byte for byte
    std::uint64_t passed = 0;  // calls in opened tunnels that no route named, and that passed
  };

  void opened(const std::string& host) { count(host, &Host::opened); }
  // True for the first one to this host.
  bool blind(const std::string& host) { return count(host, &Host::blind) == 1; }
  void passed(const std::string& host) { count(host, &Host::passed); }

  std::map<std::string, Host> all() const;
  Host of(const std::string& host) const;

 private:
  std::uint64_t count(const std::string& host, std::uint64_t Host::*what);
  mutable std::mutex mutex_;
  std::map<std::string, Host> hosts_;
};

}  // namespace ledger
