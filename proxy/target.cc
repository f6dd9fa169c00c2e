#include "proxy/target.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "proxy/reach.h"

namespace ledger {
namespace {

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

// Of Host, or of an absolute-form target. Whose port is left out has none.
struct Authority {
  Url url;
  std::optional<std::uint16_t> port;
};

std::optional<Authority> parse_authority(std::string_view text) {
  auto url = parse_url("http://" + std::string(text));
  if (!url || url->spelled_path() != "/" || url->has_query) return std::nullopt;
  const auto colon = text.rfind(':');
  const bool has_port = colon != text.npos && colon + 1 < text.size() && text.back() != ']';
  const auto port = has_port ? std::optional(url->port_number()) : std::nullopt;
  return Authority{std::move(*url), port};
}

// Is it this listener that the call was sent to, as the caller sees it?
std::optional<Problem> refuse_host(std::string_view host, const Listener& listener,
                                   const Config& config) {
  const auto named = parse_authority(host);
  if (named && names_listener(named->url.host, named->port, listener, config)) return std::nullopt;
  return problem::host_not_allowed(
      "The request is for the host `" + std::string(host.substr(0, 200)) +
      "`, and this listener is " + listener.listen.to_string() +
      ", or localhost; other names of it go into `hosts` in ledger.yaml");
}

// The path, of a target in origin-form, or on a listener with an upstream of its own in
// absolute-form for that listener.
tl::expected<std::string_view, Problem> path_of(const Head& head, const Listener& listener,
                                                const Config& config) {
  auto path = head.target;
  auto host = head.host;
  const bool absolute = path.front() != '/';
  if (absolute) {
    constexpr std::string_view scheme = "http://";
    if (!iequals(path.substr(0, scheme.size()), scheme))
      return tl::unexpected(problem::bad_request(
          "The request's target is neither a path nor a URL of this listener."));
    path.remove_prefix(scheme.size());
    host = path.substr(0, path.find_first_of("/?#"));
    path.remove_prefix(host.size());
    if (path.empty()) path = "/";
    if (!path.starts_with('/'))
      return tl::unexpected(problem::bad_request("The request's target has no path."));
  }
  // HTTP/1.0 knows no Host; every browser sends one.
  if (absolute || head.version == 11 || head.has("Host"))
    if (auto refused = refuse_host(host, listener, config))
      return tl::unexpected(std::move(*refused));
  return path;
}

}  // namespace

std::optional<Problem> refuse_page(const Head& head, const Listener& listener,
                                   const Config& config) {
  for (std::size_t i = 0; i < head.fields.size(); ++i) {
    if (head.kinds[i] != FieldKind::page) continue;
    const auto& [name, value] = head.fields[i];
    if (!iequals(name, "Origin")) {
      if (iequals(value, "cross-site"))
        return problem::host_not_allowed("The request comes from a web page elsewhere");
      continue;
    }
    const auto page = parse_url(value);
    if (!page || !names_listener(page->host, page->port_number(), listener, config))
      return problem::host_not_allowed("The request comes from a web page elsewhere (`" +
                                       std::string(value.substr(0, 200)) +
                                       "`); pages that may go into `hosts` in ledger.yaml");
  }
  return std::nullopt;
}

tl::expected<Target, Problem> find_target(const Head& head, const Listener& listener,
                                          const Config& config) {
  if (head.target.empty())
    return tl::unexpected(problem::bad_request("The request has no target."));
  if (head.target.front() != '/' && !listener.upstream) {
    auto url = parse_url(head.target);
    if (!url) {
      if (head.target == "*") return tl::unexpected(problem::not_mounted("*"));
      return tl::unexpected(
          problem::bad_request("The request's target is not a URL: " + url.error()));
    }
    return Target{std::move(*url), false, ""};
  }
  const auto target = path_of(head, listener, config);
  if (!target) return tl::unexpected(target.error());
  auto mounted =
      listener.upstream
          ? mount_target({Mount{"/", *listener.upstream, listener.upstream_key, false}}, *target)
          : mount_target(config.mounts, *target);
  if (!mounted) {
    if (mounted.error() == NotMounted::climbs_out)
      return tl::unexpected(problem::bad_request(
          "The path's dot segments lead out of where it is mounted; nothing was sent."));
    const auto path = target->substr(0, target->find('?'));
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

}  // namespace ledger
