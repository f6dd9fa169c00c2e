// ledger.yaml as values, and the loader that reads it: strict, with positions and suggestions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "config/egress.h"
#include "config/route.h"

namespace ledger {

// HOST:PORT to bind. Port 0 asks the system for a free one.
struct Endpoint {
  std::string host;  // an IP address or "localhost"; IPv6 without brackets
  std::uint16_t port = 0;
  bool loopback() const;          // 127.0.0.0/8, ::1, localhost
  std::string to_string() const;  // IPv6 in brackets
  bool operator==(const Endpoint&) const = default;
};

struct Mount {
  std::string prefix;        // "/stripe", without a final slash; "/" takes what no other does
  Url upstream;              // its path is prepended; no query
  std::string upstream_key;  // empty: none; a route's own wins
  bool insecure = false;     // its upstream's certificate is not verified
};

struct Listener {
  Endpoint listen;
  std::optional<Url> upstream;    // own-port reverse proxy; nullopt: forward proxy and mounts
  std::string upstream_key;       // as a mount's
  std::vector<HostRule> hosts{};  // as Config::hosts, here alone
};

enum class Durability : std::uint8_t {
  full,   // fsync before a claim's first byte goes out and before an answer is given
  normal  // survives the process, not the machine
};

// Which https tunnels are opened, so that their calls can be seen. Hosts are patterns whose paths
// and methods say nothing.
struct HttpsRules {
  enum class Open : std::uint8_t { named, all } open = Open::named;
  std::vector<RoutePattern> never;  // not opened, whatever else says so
  std::vector<RoutePattern> guard;  // opened, and calls that no route names are guarded there
  bool strict = false;              // tunnels that are not opened are refused
};

struct Config {
  std::vector<Listener> listeners;  // `listen:` first
  Endpoint admin;
  std::string admin_token;         // empty: the one in `state_dir` (see admin_token.h)
  bool admin_reads_token = false;  // `reads: token`
  std::string store_url;           // memory: | sqlite:PATH
  Durability durability = Durability::full;
  MethodDefaults defaults;             // routes start from `defaults.once`
  std::string state_dir;               // ~ expanded
  std::vector<std::string> tls_roots;  // PEM files, trusted for upstreams beside the system's
  // PEM files, all empty or in pairs: the CA that signs for opened tunnels (else one of our own in
  // `state_dir`), and what we show to upstreams that ask for a client's certificate: to those that
  // a mount, a listener or an https route names, and to `tls_client_hosts`.
  std::string tls_ca, tls_ca_key;
  std::string tls_client_cert, tls_client_key;
  std::vector<HostRule> tls_client_hosts;
  std::vector<Mount> mounts;  // longest prefix first
  std::vector<Route> routes;  // first match wins
  HttpsRules https;
  std::string auth_token;  // empty: callers need none
  Egress egress;           // where calls may go
  // More names by which origin-form calls may ask for our listeners, and pages may be from.
  std::vector<HostRule> hosts;
  // Names that have these addresses, whatever DNS says. Not in the file: for `ledger doctor`, whose
  // host only its own proxy can find.
  std::vector<std::pair<std::string, std::string>> addresses;
  // Addresses that are Ledger's beside the listeners and the admin endpoint. Not in the file: for
  // `ledger run`, whose proxy stands beside those of the file.
  std::vector<Endpoint> also_own;

  // Limits that belong to the process, not to a route.
  std::size_t header_max = 65'536;       // bytes of one message's head
  std::size_t connections_max = 20'000;  // client connections at once
  // Of them, those of one peer's address at once; nullopt: `per_client_default`, on loopback any
  // number (all agents of this machine come from there).
  std::optional<std::size_t> per_client;
  static constexpr std::size_t per_client_default = 2'000;
  // Bytes that guarded bodies, answers being recorded and replays hold together.
  std::size_t memory_max = std::size_t{512} << 20;
  Duration idle_timeout = std::chrono::seconds(75);  // a keep-alive connection between calls
  Duration header_timeout = std::chrono::seconds(
      30);  // from the first byte of a call to its body's end: no progress for so long
  Duration connect_timeout = std::chrono::seconds(10);
  Duration tunnel_idle_timeout = std::chrono::hours(1);  // a tunnel in which nothing moves
  Duration drain_timeout = std::chrono::seconds(90);  // SIGTERM: executions get so long to finish
  std::size_t threads = 0;                            // 0: one a core
};

// One mistake in the file.
struct ConfigError {
  std::string file;
  int line = 0, column = 0;       // 1-based; 0 where the whole file is meant
  std::string message;            // what is wrong, and what to do instead
  std::string to_string() const;  // file:line:column: message
};

// Is there any host whose https tunnels are opened?
bool opens_tunnels(const Config& config);
// The hosts that https routes and `https.guard` name, each once: "api.stripe.com", "*.example.com".
std::vector<std::string> named_hosts(const Config& config);
// Whose tunnels are opened, for a person: "api.stripe.com, *.example.com", or "every host but
// internal.example.com".
std::string opened_hosts(const Config& config);
// Which https tunnels are opened and what becomes of the others, in a sentence for a person.
std::string tunnels_in_words(const Config& config);
// Is an https tunnel to `host` (any case, without a final dot; IPv6 with or without brackets)
// opened?
bool opens_tunnel(const Config& config, std::string_view host, std::uint16_t port);
// Does a route name this host, under the URL's scheme?
bool names_host(const Config& config, const Url& url);
// Are calls that come in an opened tunnel and that no route names guarded as `defaults` say? Where
// nothing names the host (`https.open: all`) they pass: a POST may be a poll there.
bool guards_unnamed(const Config& config, const Url& url);

// Reads and checks `path`. All mistakes that can be told apart are reported at once, in the order
// of the file. A file that cannot be read is an error; an empty one means the defaults. Relative
// paths are taken from the folder of `path` (`file`). `env` looks up ${NAME}; nullopt where it is
// not set (an error unless ${NAME:-default}).
using Environment = std::function<std::optional<std::string>(const std::string&)>;
tl::expected<Config, std::vector<ConfigError>> load_config(const std::string& path,
                                                           const Environment& env);
tl::expected<Config, std::vector<ConfigError>> parse_config(std::string_view text,
                                                            const std::string& file,
                                                            const Environment& env);
// What an absent file means: the documented defaults, and the store in the state directory.
Config default_config();
// The process's environment. Not while another thread changes it.
std::optional<std::string> process_environment(const std::string& name);

// One key of ledger.yaml, as the loader's own table has it: the loader, docs/config.md and
// ledger.schema.json cannot disagree (tests compare them).
struct ConfigKey {
  std::string name;
  std::string takes;     // "1ms to 1d", "replay | block"
  std::string standard;  // the value where it is left out
  std::string about;     // one phrase
};
// "" is the top of the file; "mounts", "listeners" and "routes" mean one entry. Keys in the order
// of the documentation; empty for an unknown section. `defaults` also takes methods.
std::vector<ConfigKey> config_keys(std::string_view section);
std::vector<std::string> config_sections();

// The upstream URL for a reverse call: `target` is origin-form ("/stripe/v1/charges?x"). `/stripe`
// mounts /stripe and /stripe/..., not /stripes. What follows goes out as it is spelled; a path
// whose dot segments lead out of its mount has no upstream. `mounts`: longest prefix first.
struct Mounted {
  Url url;
  const Mount* mount;
};
enum class NotMounted : std::uint8_t { no_mount, climbs_out };
tl::expected<Mounted, NotMounted> mount_target(const std::vector<Mount>& mounts,
                                               std::string_view target);

}  // namespace ledger
