#include "config/egress.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "config/values.h"
#include "fingerprint/url.h"

namespace ledger {
namespace {

constexpr unsigned mapped_bits = 96;  // ::ffff:0:0/96

IpAddress from_v4(std::uint32_t network_order) {
  IpAddress::Bytes bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&network_order), 4, bytes.begin() + 12);
  return IpAddress(bytes);
}

// As the standards write it: four decimal numbers, or RFC 4291's forms.
std::optional<IpAddress> strict_address(std::string_view text) {
  const std::string host(text);
  in_addr four{};
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return from_v4(four.s_addr);
  IpAddress::Bytes bytes{};
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) return IpAddress(bytes);
  return std::nullopt;
}

struct Network {
  IpAddress address;
  unsigned bits;
};

// Link-local, and where clouds answer their machines' questions for credentials.
const std::vector<Network>& denied_networks() {
  static const auto networks = [] {
    std::vector<Network> all;
    for (const auto& [address, bits] :
         {std::pair{"169.254.0.0", 16U},  // IPv4 link-local; most clouds
          {"fe80::", 10U},                // IPv6 link-local
          {"fd00:ec2::254", 128U},        // AWS
          {"fd00:ec2::23", 128U},         // AWS, of pods
          {"fd20:ce::254", 128U},         // Google
          {"100.100.100.200", 32U},       // Alibaba
          {"168.63.129.16", 32U},         // Azure
          {"192.0.0.192", 32U}})          // Oracle
      all.push_back({*strict_address(address), bits});
    return all;
  }();
  return networks;
}

constexpr std::string_view denied_names[] = {"metadata.google.internal", "metadata.goog",
                                             "instance-data.ec2.internal"};

bool is_denied_name(std::string_view host) {
  return std::find(std::begin(denied_names), std::end(denied_names), host) !=
         std::end(denied_names);
}

tl::unexpected<std::string> bad(std::string message) {
  return tl::unexpected<std::string>(std::move(message));
}

// 1 to 65535; 0 where it is not that.
std::uint16_t port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() ? port : std::uint16_t{0};
}

// `[::1]:80`, `[fd00::]/8:443`, `api.example.com:443`: the host, and what follows its last colon.
struct Split {
  std::string host;
  std::optional<std::string_view> port;
};

Split split_port(std::string_view text) {
  const auto bracket = text.rfind(']');
  if (bracket == text.npos && std::count(text.begin(), text.end(), ':') > 1)
    return {std::string(text), std::nullopt};  // an IPv6 address without brackets
  const auto colon = text.find(':', bracket == text.npos ? 0 : bracket);
  Split split{std::string(text.substr(0, colon)), std::nullopt};
  std::erase_if(split.host, [](char c) { return c == '[' || c == ']'; });
  if (colon != text.npos) split.port = text.substr(colon + 1);
  return split;
}

// As addresses do, and no name does.
bool ends_in_a_number(const std::string& host) {
  const auto last = host.substr(host.rfind('.') + 1);
  return std::all_of(last.begin(), last.end(), [](char c) { return c >= '0' && c <= '9'; }) ||
         IpAddress::parse(host);
}

tl::expected<Network, std::string> parse_network(const std::string& host) {
  const auto slash = host.find('/');
  const auto address = strict_address(host.substr(0, slash));
  if (!address) return bad(code(host) + " is not a network, as in `10.0.0.0/8` or `fd00::/8`");
  const unsigned all = address->is_v4() ? 32 : 128;
  if (slash == std::string::npos) return Network{*address, all};
  const auto bits = parse_count(std::string_view(host).substr(slash + 1), {0, all});
  if (!bits) return bad("bad prefix length in " + code(host) + ": " + bits.error());
  return Network{*address, static_cast<unsigned>(*bits)};
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view host) {
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  if (auto address = strict_address(host)) return address;
  in_addr four{};
  if (inet_aton(std::string(host).c_str(), &four) != 0) return from_v4(four.s_addr);
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  static const auto mapped = from_v4(0);
  return std::equal(bytes_.begin(), bytes_.begin() + mapped_bits / 8, mapped.bytes_.begin());
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  return *this == *strict_address("::1");
}

bool IpAddress::is_unspecified() const { return *this == IpAddress() || *this == from_v4(0); }

bool IpAddress::is_in(const IpAddress& network, unsigned bits) const {
  if (is_v4() != network.is_v4()) return false;
  if (is_v4()) bits += mapped_bits;
  const auto whole = bits / 8;
  if (!std::equal(bytes_.begin(), bytes_.begin() + whole, network.bytes_.begin())) return false;
  if (bits % 8 == 0) return true;
  const auto differ = static_cast<unsigned>(bytes_[whole] ^ network.bytes_[whole]);
  return differ >> (8 - bits % 8) == 0;
}

std::optional<IpAddress> IpAddress::embedded() const {
  const auto at = [&](std::size_t first) {
    std::uint32_t four = 0;
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(first), 4,
                reinterpret_cast<std::uint8_t*>(&four));
    return from_v4(four);
  };
  static const auto nat64 = *strict_address("64:ff9b::"),
                    local_nat64 = *strict_address("64:ff9b:1::"),
                    six_to_four = *strict_address("2002::");
  if (is_in(nat64, 96) || is_in(local_nat64, 48)) return at(12);
  if (is_in(six_to_four, 16)) return at(2);
  if (is_in(IpAddress(), 96) && !is_loopback() && !is_unspecified()) return at(12);
  return std::nullopt;
}

tl::expected<HostRule, std::string> HostRule::parse(std::string_view text) {
  HostRule rule;
  if (const auto port = port_of(text); port != 0) {
    rule.port_ = port;
    return rule;
  }
  const auto [host, port] = split_port(text);
  if (port) {
    rule.port_ = port_of(*port);
    if (rule.port_ == 0)
      return bad("the port in " + code(text) + " is not a number from 1 to 65535");
  }
  if (host == "*" || (host.empty() && port)) return rule;
  if (host.find('/') != std::string::npos || strict_address(host)) {
    const auto network = parse_network(host);
    if (!network) return bad(network.error());
    rule.kind_ = Kind::network;
    rule.network_ = network->address;
    rule.bits_ = network->bits;
    return rule;
  }
  const bool wildcard = host.starts_with("*.");
  rule.kind_ = wildcard ? Kind::suffix : Kind::name;
  const auto url = parse_url("http://" + (wildcard ? host.substr(2) : host) + "/");
  if (!url || url->host.find('*') != std::string::npos || ends_in_a_number(url->host))
    return bad(code(text) +
               " is no host: write `api.example.com`, `*.example.com`, `10.0.0.7`, `10.0.0.0/8` or "
               "`[fd00::]/8`, each with `:PORT` if need be");
  rule.name_ = (wildcard ? "." : "") + url->host;
  return rule;
}

bool HostRule::takes(std::string_view host, std::uint16_t port) const {
  if (!at_port(port)) return false;
  switch (kind_) {
    case Kind::any:
      return true;
    case Kind::name:
      return host == name_;
    case Kind::suffix:
      return host.size() > name_.size() && host.ends_with(name_);
    case Kind::network:
      if (const auto address = IpAddress::parse(host)) return takes(*address, port);
      return false;
  }
  return false;
}

bool HostRule::takes(const IpAddress& address, std::uint16_t port) const {
  return kind_ == Kind::network && at_port(port) && address.is_in(network_, bits_);
}

bool HostRule::is_in(const IpAddress& network, unsigned bits) const {
  return kind_ == Kind::network && bits_ >= bits && network_.is_in(network, bits);
}

bool Egress::refuses(std::string_view host, std::uint16_t port) const {
  if (const auto address = IpAddress::parse(host)) return refuses(host, *address, port);
  const auto takes = [&](const HostRule& rule) { return rule.takes(host, port); };
  if (std::any_of(deny.begin(), deny.end(), takes)) return true;
  if (is_denied_name(host) && !lifts(host, nullptr, port)) return true;
  return !allow.empty() && std::none_of(allow.begin(), allow.end(), [&](const HostRule& rule) {
    return takes(rule) || (rule.is_address() && rule.at_port(port));  // its address will tell
  });
}

bool Egress::refuses(std::string_view host, const IpAddress& address, std::uint16_t port) const {
  // What else a connection to it may reach.
  const auto embedded = address.is_unspecified()
                            ? IpAddress::parse(address.is_v4() ? "127.0.0.1" : "::1")
                            : address.embedded();
  const auto takes = [&](const HostRule& rule) {
    return rule.takes(host, port) || rule.takes(address, port) ||
           (embedded && rule.takes(*embedded, port));
  };
  const auto is_denied_by_default = [&](const IpAddress& reading) {
    const auto& networks = denied_networks();
    return std::any_of(networks.begin(), networks.end(),
                       [&](const Network& n) { return reading.is_in(n.address, n.bits); }) &&
           !lifts(host, &reading, port);
  };
  if (std::any_of(deny.begin(), deny.end(), takes)) return true;
  if (is_denied_by_default(address) || (embedded && is_denied_by_default(*embedded))) return true;
  return !allow.empty() && std::none_of(allow.begin(), allow.end(), takes);
}

// Does an entry of `allow` name what is denied by default? Not by a network that merely holds it,
// nor by a name that leads to it: whoever has that name's DNS would say where it leads.
bool Egress::lifts(std::string_view host, const IpAddress* address, std::uint16_t port) const {
  return std::any_of(allow.begin(), allow.end(), [&](const HostRule& rule) {
    if (!rule.at_port(port)) return false;
    if (is_denied_name(host) && rule.names(host)) return true;
    if (address == nullptr || !rule.takes(*address, port)) return false;
    return std::any_of(denied_networks().begin(), denied_networks().end(),
                       [&](const Network& n) { return rule.is_in(n.address, n.bits); });
  });
}

}  // namespace ledger
