// Lists of hosts, and where calls may go (`egress:`).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace ledger {

// An IPv4 or IPv6 address; one that is mapped into IPv6 (::ffff:1.2.3.4) is the IPv4 one.
class IpAddress {
 public:
  using Bytes = std::array<std::uint8_t, 16>;
  IpAddress() = default;
  explicit IpAddress(const Bytes& bytes) : bytes_(bytes) {}
  // As resolvers read it: brackets may stand around it, and 127.1 and 2130706433 are 127.0.0.1.
  static std::optional<IpAddress> parse(std::string_view host);

  bool is_v4() const;
  bool is_loopback() const;     // 127.0.0.0/8, ::1
  bool is_unspecified() const;  // 0.0.0.0, :: (a connection to it goes to this machine)
  // Are its first `bits` those of `network`? IPv4 counts from its own first bit.
  bool is_in(const IpAddress& network, unsigned bits) const;
  // The IPv4 address that it stands for elsewhere: NAT64 (RFC 6052), 6to4 (RFC 3056),
  // IPv4-compatible.
  std::optional<IpAddress> embedded() const;
  bool operator==(const IpAddress&) const = default;

 private:
  Bytes bytes_{};  // IPv4 as ::ffff:1.2.3.4
};

// `api.example.com`, `*.example.com` (any depth, not the bare domain), an address, a network
// (`10.0.0.0/8`, `[fd00::]/8`), `*`; each may have a port behind it. `:25` is any host at that
// port.
class HostRule {
 public:
  // Error: one sentence that says what is wrong and what is accepted.
  static tl::expected<HostRule, std::string> parse(std::string_view text);

  // By its name alone; a host that is an address has no other name. `host`: as a URL has it.
  bool takes(std::string_view host, std::uint16_t port) const;
  bool takes(const IpAddress& address, std::uint16_t port) const;
  bool is_any() const { return kind_ == Kind::any; }
  bool is_address() const { return kind_ == Kind::network; }  // or a network
  bool is_in(const IpAddress& network, unsigned bits) const;
  std::uint16_t port() const { return port_; }  // 0: any
  bool at_port(std::uint16_t port) const { return port_ == 0 || port_ == port; }
  bool names(std::string_view host) const { return kind_ == Kind::name && name_ == host; }

 private:
  enum class Kind : std::uint8_t { any, name, suffix, network };
  Kind kind_ = Kind::any;
  std::string name_;  // lower case; of a suffix with its dot
  IpAddress network_;
  unsigned bits_ = 0;
  std::uint16_t port_ = 0;  // 0: any
};

// Where calls may go. `deny` wins; an `allow` that is not empty is exclusive. Link-local addresses
// and cloud metadata are denied unless an entry of `allow` names them (see of_address).
struct Egress {
  std::vector<HostRule> deny, allow;

  // Is the call refused by its name alone, before anything is looked up?
  bool refuses(std::string_view host, std::uint16_t port) const;
  // And by an address of that host?
  bool refuses(std::string_view host, const IpAddress& address, std::uint16_t port) const;

 private:
  bool lifts(std::string_view host, const IpAddress* address, std::uint16_t port) const;
};

}  // namespace ledger
