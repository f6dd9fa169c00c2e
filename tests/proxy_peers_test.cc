#include <doctest/doctest.h>

#include <vector>

#include "proxy/peers.h"

namespace ledger::test {
namespace {

auto address(const char* text) { return boost::asio::ip::make_address(text); }

}  // namespace

TEST_CASE("an address has its places, an IPv6 net of 64 bits is one, and IPv4 in IPv6 is IPv4") {
  Config config;
  config.per_client = 2;
  Peers peers(config);
  std::vector<Peers::Place> places;
  const auto takes = [&](const char* from) {
    auto place = peers.admit(address(from));
    if (place) places.push_back(std::move(*place));
    return place.has_value();
  };
  CHECK(takes("192.0.2.1"));
  CHECK(takes("::ffff:192.0.2.1"));
  CHECK_FALSE(takes("192.0.2.1"));
  CHECK(takes("192.0.2.2"));
  CHECK(takes("2001:db8:0:1::1"));
  CHECK(takes("2001:db8:0:1::2"));
  CHECK_FALSE(takes("2001:db8:0:1:ffff::3"));
  CHECK(takes("2001:db8:0:2::1"));
  CHECK(takes("127.0.0.1"));
  CHECK(takes("127.0.0.1"));
  CHECK_FALSE(takes("127.0.0.1"));
  places.clear();
  CHECK(takes("192.0.2.1"));
}

TEST_CASE("where no limit is written, loopback has none and another address the default") {
  const Config config;
  Peers peers(config);
  std::vector<Peers::Place> places;
  for (std::size_t i = 0; i < Config::per_client_default; ++i) {
    places.push_back(*peers.admit(address("127.0.0.1")));
    places.push_back(*peers.admit(address("192.0.2.1")));
  }
  CHECK(peers.admit(address("127.0.0.1")));
  CHECK(peers.admit(address("::1")));
  CHECK_FALSE(peers.admit(address("192.0.2.1")));
}

}  // namespace ledger::test
