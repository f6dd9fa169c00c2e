// The settings of the process: what is listened on, stored, trusted, bounded. One row a key.
#include "config/settings.h"

#include <filesystem>

#include "config/hints.h"
#include "config/settings_rows.h"

namespace ledger {

using namespace rows;

namespace {

// A section that is a map with a table of its own. `short_form`: the key that a bare value stands
// for, or empty.
Setting<Config> section(std::string name, std::string about, const Settings<Config>& (*table)(),
                        const std::string& short_form = {}) {
  std::string takes = short_form.empty() ? "map" : "map, or its `" + short_form + "` alone";
  return {{name, std::move(takes), "see below", std::move(about)},
          [=](Reader& in, const Entry& entry, Config& into) {
            Entries entries;
            if (!short_form.empty() && entry.value.IsScalar())
              entries.push_back({short_form, entry.at, entry.value});
            else
              entries = in.entries(entry.value, code(name));
            in.refuse_unknown(entries, name);
            read_settings(in, entries, table(), into);
          }};
}

Parsed<std::string> parse_token(std::string_view text) {
  const bool visible =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  // A secret that anybody would guess: who writes it wants a token, and has none.
  if (is_switch(text))
    return tl::unexpected(code(text) +
                          " is no secret: write a token of your own, such as `${LEDGER_TOKEN}`");
  if (visible) return std::string(text);
  return tl::unexpected<std::string>("a token is printable ASCII without spaces");
}

}  // namespace

const Settings<Config>& admin_settings() {
  static const Settings<Config> table = {
      value<Config>({"listen", "HOST:PORT", "127.0.0.1:9090",
                     "the admin endpoint; beyond loopback only with a token"},
                    &Config::admin, parse_endpoint),
      value<Config>(
          {"token", "printable ASCII without spaces", "made in `state`, as admin-token",
           "what must be shown by who changes something; one that stands here, by who looks too"},
          &Config::admin_token, parse_token),
      word<Config, bool Config::*, bool>("reads", &Config::admin_reads_token,
                                         {{"open", false}, {"token", true}},
                                         "token: who only looks must show it too"),
  };
  return table;
}

const Settings<Config>& store_settings() {
  static const Settings<Config> table = {
      {{"url", "sqlite:PATH | memory:", "sqlite:ledger.db", "where the records live"},
       [](Reader& in, const Entry& entry, Config& config) {
         in.set(entry, config.store_url, [&](std::string_view text) -> Parsed<std::string> {
           auto url = parse_store_url(text);
           constexpr std::string_view scheme = "sqlite:";
           if (!url || !url->starts_with(scheme)) return url;
           return in.path(url->substr(scheme.size())).map([&](const std::string& path) {
             return std::string(scheme) + path;
           });
         });
       }},
      word<Config, Durability Config::*, Durability>(
          "durability", &Config::durability,
          {{"full", Durability::full}, {"normal", Durability::normal}},
          "what a record survives: the machine's crash, or only the process's"),
  };
  return table;
}

namespace {

Parsed<std::string> parse_file(std::string_view text, const Reader& in) {
  auto path = in.path(text);
  std::error_code failure;
  if (path && !std::filesystem::is_regular_file(*path, failure))
    return tl::unexpected(code(*path) + " is not a file");
  return path;
}

Setting<Config> pem_file(std::string name, std::string Config::*field, std::string about,
                         std::string standard = "none") {
  return {{std::move(name), "a PEM file", std::move(standard), std::move(about)},
          [=](Reader& in, const Entry& entry, Config& config) {
            in.set(entry, config.*field,
                   [&](std::string_view text) { return parse_file(text, in); });
          }};
}

}  // namespace

const Settings<Config>& tls_settings() {
  static const Settings<Config> table = {
      {{"roots", "list of PEM files", "none",
        "certificates trusted for upstreams, beside the system's"},
       [](Reader& in, const Entry& entry, Config& config) {
         const auto one = [&](std::string_view text) { return parse_file(text, in); };
         list<Config>({}, &Config::tls_roots, one).read(in, entry, config);
       }},
      pem_file("ca", &Config::tls_ca, "the CA that signs for opened tunnels; its chain may follow",
               "one of our own, in `state`"),
      pem_file("ca_key", &Config::tls_ca_key, "the key of `ca`"),
      pem_file("client_cert", &Config::tls_client_cert,
               "shown to upstreams of ours that ask for a certificate; its chain may follow"),
      pem_file("client_key", &Config::tls_client_key, "the key of `client_cert`"),
      list<Config>(
          {"client_hosts", std::string(host_list), "none",
           "who is shown `client_cert` beside the hosts of mounts, listeners and https routes"},
          &Config::tls_client_hosts, parse_named_host),
  };
  return table;
}

const Settings<Config>& auth_settings() {
  static const Settings<Config> table = {
      value<Config>({"token", "printable ASCII without spaces", "none",
                     "the password of the proxy URL, or Ledger-Token, that callers must show"},
                    &Config::auth_token, parse_token),
  };
  return table;
}

const Settings<Config>& egress_settings() {
  const auto deny = [](Config & c) -> auto& { return c.egress.deny; };
  const auto allow = [](Config & c) -> auto& { return c.egress.allow; };
  static const Settings<Config> table = {
      list<Config>(
          {"deny", std::string(host_list), "none", "where no call may go; wins over `allow`"}, deny,
          HostRule::parse),
      list<Config>(
          {"allow", std::string(host_list), "everywhere", "where calls may go, and nowhere else"},
          allow, HostRule::parse),
  };
  return table;
}

const Settings<Config>& limit_settings() {
  const auto body = [](Config & c) -> auto& { return c.defaults.once.body_max; };
  const auto response = [](Config & c) -> auto& { return c.defaults.once.response_max; };
  static const Settings<Config> table = {
      size<Config>("header_max", &Config::header_max, {1 << 10, 1 << 20},
                   "head of one request or answer"),
      count<Config>("connections", &Config::connections_max, {1, 1'000'000},
                    "client connections at once"),
      {{"per_client", "1 to 1000000",
        std::to_string(Config::per_client_default) + "; on loopback any number",
        "client connections at once of one address (of IPv6, one /64)"},
       [](Reader& in, const Entry& entry, Config& config) {
         in.set(entry, config.per_client, [](std::string_view text) {
           return parse_count(text, {1, 1'000'000});
         });
       }},
      size<Config>("memory", &Config::memory_max, {1 << 20, std::size_t{1} << 40},
                   "bodies, answers and replays of guarded calls together; over it calls wait"),
      duration<Config>("idle_timeout", &Config::idle_timeout, some_time,
                       "a kept-alive client connection between calls"),
      duration<Config>("header_timeout", &Config::header_timeout, some_time,
                       "a client's call that makes no progress, from its first byte to its end"),
      duration<Config>("connect_timeout", &Config::connect_timeout, some_time,
                       "name look-up, connection and TLS handshake to an upstream"),
      duration<Config>("tunnel_idle_timeout", &Config::tunnel_idle_timeout, some_time,
                       "a tunnel or an upgraded connection in which nothing moves"),
      duration<Config>("drain_timeout", &Config::drain_timeout, any_time,
                       "after SIGTERM, for running calls to finish"),
      count<Config>("threads", &Config::threads, {0, 256}, "worker threads; 0: one a core"),
      size<Config>("body_max", body, buffered, "the default of every route's body_max"),
      size<Config>("response_max", response, buffered, "the default of every route's response_max"),
  };
  return table;
}

namespace {

// HOST, *.HOST or either with :PORT; without one, every port.
Parsed<RoutePattern> parse_host_pattern(std::string_view text) {
  const auto bracket = text.rfind(']');
  const bool port = text.find(':', bracket == text.npos ? 0 : bracket) != text.npos;
  auto pattern =
      text.find_first_of("/ \t") == text.npos
          ? RoutePattern::parse("* https://" + std::string(text) + (port ? "/**" : ":*/**"))
          : tl::unexpected(std::string());
  if (pattern && pattern->names_host()) return pattern;
  return tl::unexpected(code(text) +
                        " is not a host: write `api.example.com`, `*.example.com` or "
                        "either with a port, without a scheme and a path");
}

}  // namespace

const Settings<Config>& https_settings() {
  const auto open = [](Config & c) -> auto& { return c.https.open; };
  const auto never = [](Config & c) -> auto& { return c.https.never; };
  const auto guard = [](Config & c) -> auto& { return c.https.guard; };
  const auto strict = [](Config & c) -> auto& { return c.https.strict; };
  using Open = HttpsRules::Open;
  static const Settings<Config> table = {
      word<Config, decltype(open), Open>(
          "open", open, {{"named", Open::named}, {"all", Open::all}},
          "whose tunnels are opened: hosts that an https route names, or every host's"),
      list<Config>(
          {"never", "list of HOST, *.HOST, HOST:PORT", "none", "hosts that are not opened"}, never,
          parse_host_pattern),
      list<Config>({"guard", "list of HOST, *.HOST, HOST:PORT", "none",
                    "hosts that are opened, and whose calls are guarded by `defaults` though no "
                    "route names them"},
                   guard, parse_host_pattern),
      word<Config, decltype(strict), bool>(
          "strict", strict, {{"true", true}, {"false", false}},
          "true: tunnels that are not opened are refused, instead of let through unseen"),
  };
  return table;
}

const Settings<Config>& top_settings() {
  static const Settings<Config> table = {
      {{"listen", "HOST:PORT", "127.0.0.1:8080",
        "the forward proxy and the mounts; port 0: any free one; beyond loopback only with auth"},
       [](Reader& in, const Entry& entry, Config& config) {
         in.set(entry, config.listeners.front().listen, parse_endpoint);
       }},
      section("admin", "the admin endpoint", admin_settings),
      section("store", "where the records live", store_settings, "url"),
      section("limits", "limits of the process", limit_settings),
      {{"defaults", "map of METHOD: once | pass, and keys of a route", "POST: once, PATCH: once",
        "calls that no route names, and what every route starts from"},
       read_defaults},
      {{"state", "a directory", "~/.local/state/ledger",
        "where the local CA and the admin token live; made with mode 0700, refused where others "
        "may "
        "write"},
       [](Reader& in, const Entry& entry, Config& config) {
         in.set(entry, config.state_dir, [&](std::string_view text) { return in.path(text); });
       }},
      {{"tls", "map", "see below", "certificates: of upstreams, and of opened tunnels"}, read_tls},
      section("https", "which https tunnels are opened; every other goes through unseen",
              https_settings),
      section("auth", "who may call", auth_settings),
      section("egress", "where calls may go", egress_settings),
      list<Config>({"hosts", std::string(host_list), "none",
                    "names of this machine that mounts and own ports may be called by, beside its "
                    "addresses and localhost"},
                   &Config::hosts, parse_named_host),
      {{"mounts", "map of /PREFIX to a map, or to its upstream alone", "none",
        "path prefixes of the reverse proxy"},
       read_mounts},
      {{"listeners", "list of maps", "none", "more ports"}, read_listeners},
      {{"routes", "list of maps", "none", "policies by method and URL; the first match wins"},
       read_routes},
  };
  return table;
}

namespace {

template <class T>
void append(std::vector<ConfigKey>& keys, const Settings<T>& table) {
  for (const auto& setting : table) keys.push_back(setting.key);
}

}  // namespace

std::vector<std::string> config_sections() {
  return {"",    "admin", "store", "limits", "defaults", "outcomes",  "probe",
          "tls", "https", "auth",  "egress", "mounts",   "listeners", "routes"};
}

std::vector<ConfigKey> config_keys(std::string_view section) {
  std::vector<ConfigKey> keys;
  if (section.empty()) append(keys, top_settings());
  if (section == "admin") append(keys, admin_settings());
  if (section == "store") append(keys, store_settings());
  if (section == "limits") append(keys, limit_settings());
  if (section == "tls") append(keys, tls_settings());
  if (section == "https") append(keys, https_settings());
  if (section == "auth") append(keys, auth_settings());
  if (section == "egress") append(keys, egress_settings());
  if (section == "mounts") append(keys, mount_settings());
  if (section == "listeners") append(keys, listener_settings());
  if (section == "routes") append(keys, route_settings());
  if (section == "routes" || section == "defaults") append(keys, policy_settings());
  if (section == "probe")
    keys = {{"get", "a URL, or a path at the call's origin, with ${body:/p} and the like",
             "required", "what to GET"},
            {"executed_if", "a JSON pointer", "required",
             "the call happened where something is there in the JSON that comes"},
            {"answer", "a JSON pointer, or the text of a JSON answer",
             "the object that executed_if points into", "what a repeat gets then"},
            {"settle_after", "1ms to 7d", "twice the route's timeout",
             "how long after its connection was closed a call that is not found never happened"},
            {"headers", "map of header names to values", "none",
             "Ledger's own credentials; without them only repeats ask, with theirs"}};
  if (section == "outcomes")
    keys = {{"completed", "list of statuses or classes", "2xx, 3xx", "the call happened"},
            {"released", "list of statuses or classes", "4xx, and 503 with Retry-After",
             "nothing happened; a repeat executes"},
            {"in_doubt", "list of statuses or classes",
             "5xx, 408, and 409 on calls with an upstream key", "nobody knows"}};
  return keys;
}

}  // namespace ledger
