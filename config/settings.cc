#include "config/settings.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <utility>

#include "config/hints.h"

namespace ledger {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr DurationRange some_time{milliseconds(1), hours(24)};
constexpr DurationRange any_time{milliseconds(0), hours(24)};
constexpr DurationRange long_time{milliseconds(1), hours(24 * 36500)};
constexpr SizeRange buffered{1, std::size_t{256} << 20};

// The rows. `Field` is a member of T, or a function from T& to the field; defaults are read from a
// T{}, so that the table cannot say another value than the code has.
template <class T, class Field>
Setting<T> duration(std::string name, Field field, DurationRange range, std::string about) {
  T standard{};
  return {{std::move(name), to_text(range.least) + " to " + to_text(range.most),
           to_text(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_duration(text, range); });
          }};
}

template <class T, class Field>
Setting<T> lasting(std::string name, Field field, DurationRange range, std::string about) {
  T standard{};
  const std::optional<Duration> value = std::invoke(field, standard);
  return {{std::move(name), to_text(range.least) + " to " + to_text(range.most) + ", or forever",
           value ? to_text(*value) : "forever", std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_lasting(text, range); });
          }};
}

template <class T, class Field>
Setting<T> size(std::string name, Field field, SizeRange range, std::string about) {
  T standard{};
  return {{std::move(name), size_text(range.least) + " to " + size_text(range.most),
           size_text(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_size(text, range); });
          }};
}

template <class T, class Field>
Setting<T> count(std::string name, Field field, CountRange range, std::string about) {
  T standard{};
  using Number = std::remove_cvref_t<decltype(std::invoke(field, standard))>;
  return {{std::move(name), std::to_string(range.least) + " to " + std::to_string(range.most),
           std::to_string(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into), [&](std::string_view text) {
              return parse_count(text, range).map([](auto n) { return static_cast<Number>(n); });
            });
          }};
}

template <class Value>
using Words = std::vector<std::pair<std::string_view, Value>>;

template <class Value>
Parsed<Value> parse_word(std::string_view text, const Words<Value>& words) {
  std::vector<std::string_view> names;
  std::string all;
  for (const auto& [name, value] : words) {
    if (name == text) return value;
    names.push_back(name);
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return tl::unexpected(code(text) + " is not one of " + all + did_you_mean(text, names));
}

// `standard` is given where the field alone does not say the default.
template <class T, class Field, class Value>
Setting<T> word(std::string name, Field field, Words<Value> words, std::string about,
                std::string standard = {}) {
  std::string takes;
  T defaults{};
  for (const auto& [text, value] : words) {
    takes += (takes.empty() ? "" : " | ") + std::string(text);
    if (standard.empty() && std::invoke(field, defaults) == value) standard = text;
  }
  return {{std::move(name), std::move(takes), std::move(standard), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_word<Value>(text, words); });
          }};
}

// Any value with a parser of its own.
template <class T, class Field, class Parse>
Setting<T> value(ConfigKey key, Field field, Parse parse) {
  return {std::move(key), [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into), parse);
          }};
}

// A list, or one value in its place; it replaces what was inherited.
template <class T, class Field, class Parse>
Setting<T> list(ConfigKey key, Field field, Parse parse) {
  return {std::move(key), [=](Reader& in, const Entry& entry, T& into) {
            auto& values = std::invoke(field, into);
            using Value = typename std::remove_cvref_t<decltype(values)>::value_type;
            values.clear();
            for (const auto& item : in.items(entry)) {
              const std::size_t before = in.mistakes();
              Value one{};
              in.set(Entry{entry.key, entry.at, item}, one, parse);
              if (in.mistakes() == before) values.push_back(std::move(one));
            }
          }};
}

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

Parsed<std::string> parse_header_name(std::string_view text) {
  if (is_token(text) && !is_switch(text) && !is_number(text)) return std::string(text);
  return tl::unexpected(code(text) + " is not a header name, such as `X-Shop`");
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

Parsed<std::string> parse_name(std::string_view text) {
  const bool visible =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (visible && text.size() <= 128) return std::string(text);
  return tl::unexpected<std::string>(
      "a route's name goes into a header: printable ASCII without spaces, up to 128 characters");
}

// One of a list that means: these, and nobody else.
Parsed<HostRule> parse_named_host(std::string_view text) {
  auto rule = HostRule::parse(text);
  if (rule && rule->is_any())
    return tl::unexpected(code(text) + " is any host; name the ones that are meant");
  return rule;
}

constexpr std::string_view host_list =
    "list of hosts, *.SUFFIX, addresses, networks; each with :PORT";

void read_scope(Reader& in, const Entry& entry, Policy& policy) {
  auto& scope = policy.identity.scope;
  scope.clear();
  const auto items = in.items(entry);
  if (items.empty())
    in.fail(entry.at, "`scope`: an empty scope; write `none` for one identity whoever calls");
  for (const auto& item : items) {
    const auto text = in.text({entry.key, entry.at, item});
    if (!text) continue;
    if (*text == "none") {
      if (items.size() > 1) in.fail(item.Mark(), "`scope`: `none` stands alone");
      continue;
    }
    const auto part = parse_word<ScopePart>(*text, {{"credential", ScopePart::credential},
                                                    {"agent", ScopePart::agent},
                                                    {"run", ScopePart::run}});
    if (!part)
      in.fail(item.Mark(), "`scope`: " + part.error() + "; or `none` alone");
    else if (std::find(scope.begin(), scope.end(), *part) != scope.end())
      in.fail(item.Mark(), "`scope`: " + code(*text) + " stands twice");
    else
      scope.push_back(*part);
  }
}

void read_key(Reader& in, const Entry& entry, Policy& policy) {
  const auto text = in.text(entry, true);
  if (!text) return;
  policy.identity.key = nullptr;
  if (*text == "fingerprint") return;
  auto parsed = parse_key_template(*text);
  if (!parsed) {
    const auto meant = text->find("${") == text->npos ? meant_part(*text) : std::nullopt;
    return in.fail(entry.value.Mark(),
                   "`key`: " + parsed.error() +
                       (meant ? "; did you mean " + code("${" + *meant + "}") + "?" : ""));
  }
  policy.identity.key = std::make_shared<const KeyTemplate>(std::move(*parsed));
}

void read_label(Reader& in, const Entry& entry, Policy& policy) {
  const auto text = in.text(entry, true);
  if (!text) return;
  auto parsed = parse_label_template(*text);
  if (!parsed) return in.fail(entry.value.Mark(), "`label`: " + parsed.error());
  policy.identity.label = std::make_shared<const KeyTemplate>(std::move(*parsed));
}

Settings<Policy> make_policy_settings() {
  const auto headers = [](Policy & p) -> auto& { return p.identity.headers; };
  const auto credentials = [](Policy & p) -> auto& { return p.identity.credential_headers; };
  const auto ignore = [](Policy & p) -> auto& { return p.identity.ignore; };
  const auto idempotency = [](Policy & p) -> auto& { return p.identity.idempotency_key; };
  const auto exact = [](Policy & p) -> auto& { return p.identity.exact_floats; };
  using Mode = IdempotencyKeyMode;
  return {
      count<Policy>("max", &Policy::max, {1, 1'000'000},
                    "executions per key that may have had an effect"),
      lasting<Policy>("ttl", &Policy::ttl, long_time,
                      "how long a record answers repeats, from its latest completion"),
      word<Policy, OnDuplicate Policy::*, OnDuplicate>(
          "on_duplicate", &Policy::on_duplicate,
          {{"replay", OnDuplicate::replay}, {"block", OnDuplicate::block}},
          "what a repeat of a completed call gets: the first answer, or a 409"),
      word<Policy, OnInFlight Policy::*, OnInFlight>(
          "on_in_flight", &Policy::on_in_flight,
          {{"wait", OnInFlight::wait}, {"refuse", OnInFlight::refuse}},
          "what a repeat of a running call does: share its outcome, or get a 409"),
      duration<Policy>("wait", &Policy::wait, any_time,
                       "how long such a repeat waits before its 409"),
      word<Policy, std::optional<InDoubt> Policy::*, std::optional<InDoubt>>(
          "in_doubt", &Policy::in_doubt, {{"hold", InDoubt::hold}, {"retry", InDoubt::retry}},
          "what a repeat of a call does whose effect is unknown: be refused, or send it again "
          "under "
          "the same upstream key",
          "retry with an upstream_key, else hold"),
      lasting<Policy>("in_doubt_ttl", &Policy::in_doubt_ttl, long_time,
                      "how long a record in doubt stays before its key is free again"),
      {{"outcomes", "map", "see below", "which statuses mean that the call happened, or did not"},
       read_outcomes},
      duration<Policy>("timeout", &Policy::timeout, some_time,
                       "from the sending of a call to the end of the upstream's answer"),
      value<Policy>({"upstream_key", "a header name, body:/name or form:name", "none",
                     "by what the upstream deduplicates; Ledger sets it"},
                    &Policy::upstream_key, parse_upstream_key),
      duration<Policy>("upstream_key_ttl", &Policy::upstream_key_ttl, long_time,
                       "how long the upstream remembers that key; in doubt holds after that"),
      list<Policy>({"ignore", "list of body:/json/pointer, form:name, query:name", "none",
                    "fields that vary between a call and its retry"},
                   ignore,
                   [](std::string_view text) {
                     return parse_ignore(text).map_error([&](const std::string& why) {
                       return why + did_you_mean_part(text, " body form query ");
                     });
                   }),
      {{"key",
        "fingerprint, or a template of ${header:X} ${body:/p} ${form:n} ${query:n} ${path:n}",
        "fingerprint", "what identifies the effect"},
       read_key},
      {{"label", "a template of text, ${header:X} ${body:/p} ${form:n} ${query:n} ${path:n}",
        "none",
        "what people see of a call, wherever its record is shown; a part that the call lacks "
        "reads `-`"},
       read_label},
      {{"scope", "none, or a list of credential, agent, run", "credential",
        "whose calls can be the same"},
       read_scope},
      list<Policy>({"headers", "list of header names", "none",
                    "headers that are part of the call, beside those that always are"},
                   headers, parse_header_name),
      list<Policy>({"credential_headers", "list of header names", "none",
                    "headers that are credentials, beside those that always are"},
                   credentials, parse_header_name),
      word<Policy, decltype(idempotency), Mode>(
          "idempotency_key", idempotency,
          {{"auto", Mode::automatic}, {"honour", Mode::honour}, {"ignore", Mode::ignore}},
          "is the client's Idempotency-Key the key: unless an SDK made it up, always, never"),
      word<Policy, decltype(exact), bool>("float_digits", exact, {{"8", false}, {"exact", true}},
                                          "digits to which JSON fractions are compared"),
      word<Policy, bool Policy::*, bool>(
          "reads", &Policy::reads_pass, {{"pass", true}, {"once", false}},
          "OAuth token requests and GraphQL queries: let through, or guarded as other calls",
          "pass, unless `policy: once` or `max` is written beside it"),
      {{"probe", "map", "none", "how to ask the upstream whether a call in doubt happened"},
       read_probe},
      count<Policy>(
          "retries", &Policy::retries, {0, 10},
          "how often Ledger tries again to reach an upstream that nothing was sent to yet"),
      size<Policy>("body_max", &Policy::body_max, buffered,
                   "body of a guarded call; a longer one gets a 413"),
      size<Policy>("response_max", &Policy::response_max, buffered,
                   "answer that is recorded; a longer one is delivered, but not replayed"),
  };
}

}  // namespace

Parsed<bool> parse_guarded(std::string_view text) {
  return parse_word<bool>(text, {{"once", true}, {"pass", false}})
      .map_error([&](const std::string& why) { return why + instead_of_policy(text); });
}

const Settings<Policy>& policy_settings() {
  static const auto table = make_policy_settings();
  return table;
}

const Settings<RouteDraft>& route_settings() {
  static const Settings<RouteDraft> table = {
      value<RouteDraft>(
          {"name", "printable ASCII without spaces, up to 128 characters", "the text of `match`",
           "names the route in headers and reports; explicit keys live under it"},
          [](RouteDraft & d) -> auto& { return d.route.name; }, parse_name),
      {{"match", "METHODS [[SCHEME://]HOST[:PORT]]/PATH", "required", "the calls that it takes"},
       [](Reader& in, const Entry& entry, RouteDraft& draft) {
         in.set(entry, draft.route.pattern,
                [&](std::string_view text) -> tl::expected<RoutePattern, std::string> {
                  auto pattern = RoutePattern::parse(text);
                  if (!pattern) return pattern;
                  draft.match = text;
                  for (const auto& method : pattern->methods())
                    if (const auto hint = misspelt_method(method); !hint.empty())
                      return tl::unexpected(code(method) + " is not a method" + hint);
                  return pattern;
                });
       }},
      {{"policy", "once | pass", "once", "guard these calls, or let them through unseen"},
       [](Reader& in, const Entry& entry, RouteDraft& draft) {
         in.set(entry, draft.route.policy.guarded, parse_guarded);
       }},
  };
  return table;
}

const Settings<Mount>& mount_settings() {
  static const Settings<Mount> table = {
      value<Mount>({"upstream", "http or https URL", "required",
                    "where its calls go; their path follows the URL's"},
                   &Mount::upstream, parse_upstream),
      value<Mount>({"upstream_key", "a header name, body:/name or form:name", "none",
                    "for its routes that have none of their own"},
                   &Mount::upstream_key, parse_upstream_key),
      word<Mount, bool Mount::*, bool>("insecure", &Mount::insecure,
                                       {{"true", true}, {"false", false}},
                                       "true: does not verify the upstream's certificate; anyone "
                                       "in between can read and answer"),
  };
  return table;
}

const Settings<Listener>& listener_settings() {
  static const Settings<Listener> table = {
      value<Listener>(
          {"listen", "HOST:PORT", "required", "where to accept calls; port 0: any free one"},
          &Listener::listen, parse_endpoint),
      value<Listener>({"upstream", "http or https URL", "none: a forward proxy, with the mounts",
                       "where all of its calls go"},
                      &Listener::upstream, parse_upstream),
      value<Listener>({"upstream_key", "a header name, body:/name or form:name", "none",
                       "for its routes that have none of their own"},
                      &Listener::upstream_key, parse_upstream_key),
      list<Listener>(
          {"hosts", std::string(host_list), "none", "as `hosts` of the file, here alone"},
          &Listener::hosts, parse_named_host),
  };
  return table;
}

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
        "where the local CA and the admin token live; made with mode 0700, refused where others may "
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
