#include "proxy/reach.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "proxy/message.h"

namespace ledger {
namespace {

namespace ip = boost::asio::ip;

IpAddress plain(const ip::address& address) {
  const auto six =
      address.is_v4() ? ip::make_address_v6(ip::v4_mapped, address.to_v4()) : address.to_v6();
  return IpAddress(six.to_bytes());
}

// Is it an address of one of this machine's interfaces?
bool is_of_this_machine(const IpAddress& address) {
  if (address.is_loopback()) return true;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return false;
  bool found = false;
  for (const auto* one = all; one != nullptr && !found; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    if (one->ifa_addr->sa_family == AF_INET) {
      const auto* four = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
      found = plain(ip::address_v4(ntohl(four->sin_addr.s_addr))) == address;
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      IpAddress::Bytes bytes{};
      const auto* six = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr);
      std::copy_n(six->sin6_addr.s6_addr, bytes.size(), bytes.begin());
      found = IpAddress(bytes) == address;
    }
  }
  ::freeifaddrs(all);
  return found;
}

// The address that an endpoint of the config listens on.
IpAddress address_of(const Endpoint& endpoint) {
  return *IpAddress::parse(endpoint.host == "localhost" ? "127.0.0.1" : endpoint.host);
}

// Does a connection to `to` arrive at a socket that listens on `at`?
bool arrives(const IpAddress& to, const IpAddress& at) {
  if (to == at) return true;
  // 0.0.0.0 and :: are no place to go: the kernel takes loopback for them.
  if (to.is_unspecified()) return at.is_loopback() || at.is_unspecified();
  // A socket on :: takes IPv4 too.
  return at.is_unspecified() && (to.is_v4() || !at.is_v4()) && is_of_this_machine(to);
}

bool is_localhost(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost");
}

bool is_this_machines_name(std::string_view host) {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && iequals(host, name.data());
}

}  // namespace

Reach::Reach(const Config& config, std::vector<Endpoint> own)
    : config_(config), own_(std::move(own)) {}

bool Reach::is_own(const IpAddress& address, std::uint16_t port) const {
  return std::any_of(own_.begin(), own_.end(), [&](const Endpoint& endpoint) {
    return endpoint.port == port && arrives(address, address_of(endpoint));
  });
}

std::optional<Reach::Refusal> Reach::refuses(const Url& url, bool configured) const {
  const auto port = url.port_number();
  const auto literal = IpAddress::parse(url.host);
  bool own = literal && is_own(*literal, port);
  if (!literal && is_localhost(url.host))
    own = is_own(*IpAddress::parse("127.0.0.1"), port) || is_own(*IpAddress::parse("::1"), port);
  const auto takes_any = [&](const Endpoint& endpoint) {
    return endpoint.port == port && address_of(endpoint).is_unspecified();
  };
  if (!literal && !own)
    own = std::any_of(own_.begin(), own_.end(), takes_any) && is_this_machines_name(url.host);
  if (own) return Refusal{NotReached::loop, url.host + " is the proxy itself"};
  if (configured || !config_.egress.refuses(url.host, port)) return std::nullopt;
  return Refusal{NotReached::denied, "Calls to " + url.host + ":" + std::to_string(port) +
                                         " are not allowed from here"};
}

std::optional<Reach::Refusal> Reach::refuses(const Url& url, const ip::address& address,
                                             bool configured) const {
  const auto port = url.port_number();
  const auto to = plain(address);
  if (is_own(to, port))
    return Refusal{NotReached::loop,
                   url.host + " (" + address.to_string() + ") is the proxy itself"};
  if (configured || !config_.egress.refuses(url.host, to, port)) return std::nullopt;
  return Refusal{NotReached::denied, "Calls to " + url.host + " (" + address.to_string() + ":" +
                                         std::to_string(port) + ") are not allowed from here"};
}

bool Reach::is_configured(const Url& url) const {
  const auto origin = url.origin();
  return std::any_of(config_.mounts.begin(), config_.mounts.end(),
                     [&](const Mount& mount) { return mount.upstream.origin() == origin; }) ||
         std::any_of(config_.listeners.begin(), config_.listeners.end(),
                     [&](const Listener& listener) {
                       return listener.upstream && listener.upstream->origin() == origin;
                     });
}

bool Reach::sees_certificate(const Url& url) const {
  const auto port = url.port_number();
  return is_configured(url) ||
         std::any_of(config_.routes.begin(), config_.routes.end(),
                     [&](const Route& route) { return route.pattern.opens(url.host, port); }) ||
         std::any_of(config_.tls_client_hosts.begin(), config_.tls_client_hosts.end(),
                     [&](const HostRule& rule) { return rule.takes(url.host, port); });
}

bool names_listener(const std::string& host, std::optional<std::uint16_t> port,
                    const Listener& listener, const Config& config) {
  const auto takes = [&](const HostRule& rule) {
    return rule.takes(host, port.value_or(rule.port()));
  };
  if (std::any_of(config.hosts.begin(), config.hosts.end(), takes) ||
      std::any_of(listener.hosts.begin(), listener.hosts.end(), takes))
    return true;
  if (port && *port != listener.listen.port) return false;
  if (host == "localhost") return true;
  const auto address = IpAddress::parse(host);
  if (!address) return false;
  const auto own = address_of(listener.listen);
  return *address == own || (own.is_loopback() && address->is_loopback()) ||
         (own.is_unspecified() && is_of_this_machine(*address));
}

}  // namespace ledger
