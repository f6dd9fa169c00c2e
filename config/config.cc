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

}  // namespace

bool opens_tunnels(const Config& config) {
  return config.https.open == HttpsRules::Open::all || !config.https.guard.empty() ||
         std::any_of(config.routes.begin(), config.routes.end(),
                     [](const Route& route) { return route.pattern.opens_any(); });
}

std::string opened_hosts(const Config& config) {
  std::vector<std::string> hosts;
  const auto add = [&](const RoutePattern& pattern) {
    if (pattern.opens_any() && std::find(hosts.begin(), hosts.end(), pattern.host()) == hosts.end())
      hosts.push_back(pattern.host());
  };
  const bool all = config.https.open == HttpsRules::Open::all;
  if (!all) {
    for (const auto& route : config.routes) add(route.pattern);
    for (const auto& pattern : config.https.guard) add(pattern);
  } else {
    for (const auto& pattern : config.https.never) add(pattern);
  }
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

const Policy& unnamed_in_tunnel(const Config& config, std::string_view method, const Url& url) {
  if (named(config, url.host, url.port_number())) return config.defaults.of(method);
  return config.defaults.pass;
}

Config default_config() {
  Config config;
  config.listeners.push_back({Endpoint{"127.0.0.1", 8080}, std::nullopt, {}});
  config.admin = Endpoint{"127.0.0.1", 9090};
  config.store_url = "sqlite:ledger.db";
  config.state_dir = home_directory() + "/.local/state/ledger";
  return config;
}

std::optional<Mounted> mount_target(const std::vector<Mount>& mounts, std::string_view target) {
  if (target.empty() || target.front() != '/') return std::nullopt;
  target = target.substr(0, target.find('#'));
  const auto mark = target.find('?');
  const std::string path = normalise_path(target.substr(0, mark));
  for (const Mount& mount : mounts) {
    const bool root = mount.prefix == "/";
    if (!root && (!path.starts_with(mount.prefix) ||
                  (path.size() > mount.prefix.size() && path[mount.prefix.size()] != '/')))
      continue;
    const auto rest = std::string_view(path).substr(root ? 0 : mount.prefix.size());
    Mounted mounted{mount.upstream, &mount};
    auto& url = mounted.url;
    if (!rest.empty()) {
      // What follows the prefix goes out as the caller spelled it, where the prefix can be told.
      const auto spelled = other_spelling(target.substr(0, mark), path);
      const bool told = !spelled.empty() && (root || spelled.starts_with(mount.prefix));
      auto sent = url.spelled_path();
      for (auto* base : {&url.path, &sent})
        if (base->ends_with('/')) base->pop_back();
      sent += told ? std::string_view(spelled).substr(root ? 0 : mount.prefix.size()) : rest;
      url.path += rest;
      url.path_received = other_spelling(sent, url.path);
    }
    mounted.url.has_query = mark != std::string_view::npos;
    if (mounted.url.has_query) mounted.url.query = target.substr(mark + 1);
    return mounted;
  }
  return std::nullopt;
}

}  // namespace ledger
