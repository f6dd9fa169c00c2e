// How many connections each peer has: one address must not take all of them (`limits.per_client`).
//
// Threads: any.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "config/config.h"

namespace ledger {

class Peers {
 public:
  explicit Peers(const Config& config) : config_(config) {}

  // One connection of a peer, as long as it is there. Empty where nobody counts.
  class Place;
  // nullopt: it has as many as it may.
  std::optional<Place> admit(boost::asio::ip::address address);

 private:
  // 4 and the address, or 6 and its /64: whoever has one IPv6 address has a whole such net.
  using Key = std::pair<int, std::uint64_t>;
  void leave(const Key& key);

  const Config& config_;
  std::mutex mutex_;
  std::map<Key, std::size_t> counts_;  // guarded by mutex_
};

class Peers::Place {
 public:
  Place() = default;
  Place(Place&& other) noexcept : peers_(std::exchange(other.peers_, nullptr)), key_(other.key_) {}
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (peers_ != nullptr) peers_->leave(key_);
  }

 private:
  friend class Peers;
  Place(Peers& peers, Key key) : peers_(&peers), key_(key) {}
  Peers* peers_ = nullptr;
  Key key_{};
};

}  // namespace ledger
