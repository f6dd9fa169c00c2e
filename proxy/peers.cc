#include "proxy/peers.h"

namespace ledger {

namespace ip = boost::asio::ip;

std::optional<Peers::Place> Peers::admit(ip::address address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = ip::make_address_v4(ip::v4_mapped, address.to_v6());
  if (!config_.per_client && address.is_loopback()) return Place();
  Key key{4, 0};
  if (address.is_v4()) {
    key.second = address.to_v4().to_uint();
  } else {
    const auto bytes = address.to_v6().to_bytes();
    key.first = 6;
    for (std::size_t i = 0; i < 8; ++i) key.second = key.second << 8 | bytes[i];
  }
  const auto most = config_.per_client.value_or(Config::per_client_default);
  const std::lock_guard lock(mutex_);
  auto& count = counts_[key];
  if (count >= most) return std::nullopt;
  ++count;
  return Place(*this, key);
}

void Peers::leave(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto at = counts_.find(key);
  if (--at->second == 0) counts_.erase(at);
}

}  // namespace ledger
