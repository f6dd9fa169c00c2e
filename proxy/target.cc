#include "proxy/target.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>

namespace ledger {
namespace {

namespace ip = boost::asio::ip;

// "user:password" of Basic credentials (RFC 7617), as they stand there: whoever made them of a URL
// has decoded the URL's user and password. nullopt if there are none.
std::optional<std::pair<std::string, std::string>> basic_credentials(std::string_view header) {
  if (header.size() < 6 || !iequals(header.substr(0, 6), "Basic ")) return std::nullopt;
  auto encoded = header.substr(6);
  while (!encoded.empty() && encoded.front() == ' ') encoded.remove_prefix(1);
  std::size_t padding = 0;
  while (padding < encoded.size() && encoded[encoded.size() - 1 - padding] == '=') ++padding;
  std::string decoded(encoded.size() / 4 * 3 + 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                reinterpret_cast<const unsigned char*>(encoded.data()),
                                static_cast<int>(encoded.size()));
  if (n < 0 || static_cast<std::size_t>(n) < padding) return std::nullopt;
  decoded.resize(static_cast<std::size_t>(n) - padding);
  const auto colon = decoded.find(':');
  if (colon == std::string::npos) return std::pair{std::move(decoded), std::string()};
  return std::pair{decoded.substr(0, colon), decoded.substr(colon + 1)};
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool is_any_address(const std::string& host) {
  boost::system::error_code error;
  const auto address = ip::make_address(host, error);
  return !error && address.is_unspecified();
}

// Also as resolvers take it: 127.1 and 2130706433 are 127.0.0.1, and so is ::ffff:127.0.0.1.
std::optional<ip::address> literal_address(std::string host) {
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  in_addr four{};
  if (::inet_aton(host.c_str(), &four) != 0) return ip::address_v4(ntohl(four.s_addr));
  boost::system::error_code error;
  const auto address = ip::make_address(host, error);
  if (error) return std::nullopt;
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  return address;
}

bool is_loopback_name(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host == "localhost" || host.ends_with(".localhost")) return true;
  const auto address = literal_address(std::string(host));
  return address && (address->is_loopback() || address->is_unspecified());
}

bool is_this_machine(std::string_view host) {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && iequals(host, name);
}

}  // namespace

tl::expected<Target, Problem> find_target(const Head& head, const Listener& listener,
                                          const Config& config) {
  if (head.target.empty())
    return tl::unexpected(problem::bad_request("The request has no target."));
  if (head.target.front() != '/') {
    auto url = parse_url(head.target);
    if (!url) {
      if (head.target == "*") return tl::unexpected(problem::not_mounted("*"));
      return tl::unexpected(
          problem::bad_request("The request's target is not a URL: " + url.error()));
    }
    return Target{std::move(*url), false, ""};
  }
  std::optional<Mounted> mounted;
  if (listener.upstream)
    mounted =
        mount_target({Mount{"/", *listener.upstream, listener.upstream_key, false}}, head.target);
  else
    mounted = mount_target(config.mounts, head.target);
  if (!mounted) {
    const auto path = head.target.substr(0, head.target.find('?'));
    return tl::unexpected(problem::not_mounted(path.substr(0, 200)));
  }
  if (listener.upstream) return Target{std::move(mounted->url), true, listener.upstream_key};
  return Target{std::move(mounted->url), true, mounted->mount->upstream_key,
                mounted->mount->insecure};
}

tl::expected<Target, Problem> find_target(const Head& head, const Tunnel& tunnel) {
  const bool origin_form = head.target.starts_with('/') || head.target == "*";
  const auto prefix = tunnel.url.origin();
  auto url = parse_url(origin_form ? prefix + (head.target == "*" ? "/" : std::string(head.target))
                                   : std::string(head.target));
  if (!url)
    return tl::unexpected(
        problem::bad_request("The request's target is not a URL: " + url.error()));
  const auto host = head.host;
  const auto named =
      origin_form && !host.empty() ? parse_url(tunnel.url.scheme + "://" + std::string(host)) : url;
  if (!named || named->origin() != prefix || url->origin() != prefix)
    return tl::unexpected(
        problem::bad_request("The request names another host than its tunnel, which leads to " +
                             prefix + "; nothing was sent. Open a tunnel to each host."));
  return Target{std::move(*url), false, ""};
}

tl::expected<Caller, Problem> identify_caller(const Head& head, bool reverse,
                                              const std::string& token) {
  Caller caller{std::string(head.get("Ledger-Agent")), std::string(head.get("Ledger-Run"))};
  std::string given(head.get("Ledger-Token"));
  if (auto basic = basic_credentials(head.get("Proxy-Authorization"))) {
    // Some clients (axios) hand the URL's user and password on as they are spelled there: the token
    // tells.
    if (auto password = percent_decode(basic->second, false);
        !token.empty() && !same_secret(basic->second, token) && same_secret(password, token))
      basic = {percent_decode(basic->first, false), std::move(password)};
    // agent.run is split at the last dot.
    const auto dot = basic->first.rfind('.');
    caller.agent = basic->first.substr(0, dot);
    caller.run = dot == std::string::npos ? "" : basic->first.substr(dot + 1);
    given = basic->second;
  }
  if (token.empty() || same_secret(given, token)) return caller;
  return tl::unexpected(reverse ? problem::token_required() : problem::proxy_auth_required());
}

tl::expected<Caller, Problem> identify_caller(const Head& head, const Tunnel& tunnel) {
  auto caller = identify_caller(head, false, "");
  if (caller && !(tunnel.caller.agent.empty() && tunnel.caller.run.empty())) caller = tunnel.caller;
  return caller;
}

bool has_passed_here(const Head& head, std::string_view via) {
  return std::any_of(head.fields.begin(), head.fields.end(), [&](const auto& f) {
    return iequals(f.name, "Via") && f.value.find(via) != f.value.npos;
  });
}

bool is_own_address(const Url& url, const std::vector<Endpoint>& own) {
  for (const auto& endpoint : own) {
    if (endpoint.port != url.port_number()) continue;
    if (url.host == endpoint.host || url.host == "[" + endpoint.host + "]") return true;
    const bool any = is_any_address(endpoint.host);
    if ((endpoint.loopback() || any) && is_loopback_name(url.host)) return true;
    if (any && is_this_machine(url.host)) return true;
  }
  return false;
}

}  // namespace ledger
