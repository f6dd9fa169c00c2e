#include "config/config.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace ledger {

bool Endpoint::loopback() const {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string Endpoint::to_string() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string ConfigError::to_string() const {
  std::string where = file;
  if (line > 0) where += ":" + std::to_string(line) + ":" + std::to_string(column);
  return where + ": " + message;
}

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

namespace {

// Services often run without HOME; the user database knows it too.
std::string home_directory() {
  if (auto home = process_environment("HOME"); home && !home->empty()) return *home;
  std::array<char, 16384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return found->pw_dir;
  return ".";
}

}  // namespace

namespace {

bool any_opens(const std::vector<RoutePattern>& patterns, std::string_view host,
               std::uint16_t port) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const RoutePattern& pattern) { return pattern.opens(host, port); });
}

// Does a route, or `https.guard`, name this host under https?
bool named(const Config& config, std::string_view host, std::uint16_t port) {
  return any_opens(config.https.guard, host, port) ||
         std::any_of(config.routes.begin(), config.routes.end(),
                     [&](const Route& route) { return route.pattern.opens(host, port); });
}

void add_host(std::vector<std::string>& hosts, const RoutePattern& pattern) {
  if (pattern.opens_any() && std::find(hosts.begin(), hosts.end(), pattern.host()) == hosts.end())
    hosts.push_back(pattern.host());
}

}  // namespace

bool opens_tunnels(const Config& config) {
  return config.https.open == HttpsRules::Open::all || !config.https.guard.empty() ||
         std::any_of(config.routes.begin(), config.routes.end(),
                     [](const Route& route) { return route.pattern.opens_any(); });
}

std::vector<std::string> named_hosts(const Config& config) {
  std::vector<std::string> hosts;
  for (const auto& route : config.routes) add_host(hosts, route.pattern);
  for (const auto& pattern : config.https.guard) add_host(hosts, pattern);
  return hosts;
}

std::string opened_hosts(const Config& config) {
  const bool all = config.https.open == HttpsRules::Open::all;
  std::vector<std::string> hosts;
  if (!all) hosts = named_hosts(config);
  if (all)
    for (const auto& pattern : config.https.never) add_host(hosts, pattern);
  std::string text;
  for (const auto& host : hosts) (text += text.empty() ? "" : ", ") += host;
  if (all) return text.empty() ? "every host" : "every host but " + text;
  return text;
}

std::string tunnels_in_words(const Config& config) {
  const std::string others = config.https.strict
                                 ? "every other tunnel is refused"
                                 : "every other tunnel goes by unseen and unguarded";
  if (!opens_tunnels(config))
    return "no https tunnel is opened: no route names an https host; " + others;
  const auto opened = opened_hosts(config);
  return "https tunnels are opened to " + opened +
         (opened.starts_with("every") ? "" : "; " + others);
}

bool opens_tunnel(const Config& config, std::string_view host, std::uint16_t port) {
  if (any_opens(config.https.never, host, port)) return false;
  return config.https.open == HttpsRules::Open::all || named(config, host, port);
}

bool names_host(const Config& config, const Url& url) {
  return std::any_of(config.routes.begin(), config.routes.end(), [&](const Route& route) {
    return route.pattern.names_host() && route.pattern.reaches(url);
  });
}

bool guards_unnamed(const Config& config, const Url& url) {
  return named(config, url.host, url.port_number());
}

Config default_config() {
  Config config;
  config.listeners.push_back({Endpoint{"127.0.0.1", 8080}, std::nullopt, {}});
  config.admin = Endpoint{"127.0.0.1", 9090};
  config.state_dir = home_directory() + "/.local/state/ledger";
  config.store_url = "sqlite:" + config.state_dir + "/ledger.db";
  return config;
}

namespace {

// The mount that takes this path; "/stripe" takes "/stripe" and "/stripe/...".
const Mount* mount_of(const std::vector<Mount>& mounts, std::string_view path) {
  const auto takes = [&](const Mount& mount) {
    if (mount.prefix == "/") return true;
    const auto size = mount.prefix.size();
    return path.starts_with(mount.prefix) && (path.size() == size || path[size] == '/');
  };
  const auto found = std::find_if(mounts.begin(), mounts.end(), takes);
  return found == mounts.end() ? nullptr : &*found;
}

// What follows `prefix` in a path that begins with it, however it spells it.
std::string_view behind(const std::string& prefix, std::string_view path) {
  if (prefix == "/") return path;
  const auto segments = std::count(prefix.begin(), prefix.end(), '/');
  std::size_t at = 0;
  for (auto i = segments; i > 0 && at != path.npos; --i) at = path.find('/', at + 1);
  return at == path.npos ? std::string_view() : path.substr(at);
}

// Below an upstream's own path.
std::string below(std::string path, std::string_view rest) {
  if (rest.empty()) return path;
  if (path.ends_with('/')) path.pop_back();
  return path += rest;
}

}  // namespace

tl::expected<Mounted, NotMounted> mount_target(const std::vector<Mount>& mounts,
                                               std::string_view target) {
  if (target.empty() || target.front() != '/') return tl::unexpected(NotMounted::no_mount);
  target = target.substr(0, target.find('#'));
  const auto mark = target.find('?');
  const auto path = target.substr(0, mark);
  const Mount* const mount = mount_of(mounts, normalise_path(path));
  // The path also goes out as it is spelled: there it must lie below the same mount.
  const Mount* const spelled = mount_of(mounts, normalise_encoding(path));
  if (mount != spelled || (mount != nullptr && climbs_out(behind(mount->prefix, path))))
    return tl::unexpected(NotMounted::climbs_out);
  if (mount == nullptr) return tl::unexpected(NotMounted::no_mount);
  Mounted mounted{mount->upstream, mount};
  mounted.url.set_path(below(mount->upstream.spelled_path(), behind(mount->prefix, path)));
  mounted.url.has_query = mark != std::string_view::npos;
  if (mounted.url.has_query) mounted.url.query = target.substr(mark + 1);
  return mounted;
}

}  // namespace ledger
