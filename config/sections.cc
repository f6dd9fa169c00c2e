// The sections of ledger.yaml that need more than their table: what only several keys together, or
// several entries, can tell.
#include <algorithm>
#include <array>

#include "config/hints.h"
#include "config/settings.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// In `defaults`, methods are told from policy keys by their letters: methods have no small ones.
bool is_method(const std::string& key) { return is_token(key) && key == upper_text(key); }

void set_method(Reader& in, const Entry& entry, MethodDefaults& defaults) {
  for (const auto& setting : policy_settings())
    if (upper_text(setting.key.name) == entry.key)
      return in.fail(entry.at, "unknown key " + code(entry.key) + "; did you mean " +
                                   code(setting.key.name) + "?");
  if (const auto hint = misspelt_method(entry.key); !hint.empty())
    return in.fail(entry.at, code(entry.key) + " is not a method" + hint);
  bool guarded = true;
  in.set(entry, guarded, parse_guarded);
  for (auto& [method, value] : defaults.guarded)
    if (method == entry.key) {
      value = guarded;
      return;
    }
  defaults.guarded.emplace_back(entry.key, guarded);
}

// `${path:x}` needs a `{x}`; without a pattern there is none.
void check_template(Reader& in, const Entry* entry, const KeyTemplate* text,
                    const RoutePattern* pattern) {
  if (entry == nullptr || text == nullptr) return;
  for (const auto& part : text->parts) {
    if (part.kind != KeyTemplate::Part::Kind::path) continue;
    if (pattern == nullptr)
      in.fail(entry->value.Mark(), code(entry->key) + ": " + code("${path:" + part.text + "}") +
                                       " belongs in a route, whose `match` captures it");
    else if (!pattern->captures(part.text))
      in.fail(entry->value.Mark(), code(entry->key) + ": the route's `match` captures no " +
                                       code("{" + part.text + "}"));
  }
}

void check_templates(Reader& in, const Entries& entries, const Policy& policy,
                     const RoutePattern* pattern) {
  check_template(in, find_entry(entries, "key"), policy.identity.key.get(), pattern);
  check_template(in, find_entry(entries, "label"), policy.identity.label.get(), pattern);
}

// Sending again is safe only under a key that the upstream knows.
bool has_upstream_key(const Config& config, const Policy& policy, const RoutePattern* pattern) {
  if (!policy.upstream_key.empty()) return true;
  const auto reached = [&](const Url& url) { return pattern == nullptr || pattern->reaches(url); };
  return std::any_of(
             config.mounts.begin(), config.mounts.end(),
             [&](const Mount& m) { return !m.upstream_key.empty() && reached(m.upstream); }) ||
         std::any_of(config.listeners.begin(), config.listeners.end(), [&](const Listener& l) {
           return !l.upstream_key.empty() && l.upstream && reached(*l.upstream);
         });
}

// Ledger's own credentials go only where this file says. `pattern` null: for any call's host.
void check_probe(Reader& in, const Entries& entries, const Policy& policy,
                 const RoutePattern* pattern) {
  const Entry* entry = find_entry(entries, "probe");
  if (entry == nullptr || !policy.probe) return;
  const auto& [parts] = policy.probe->get;
  const auto& headers = policy.probe->headers;
  const bool at_the_call = !parts.empty() && parts.front().text.starts_with('/');
  if (!at_the_call || !headers || headers->empty()) return;
  if (pattern != nullptr && pattern->names_host() && !pattern->host().starts_with('*')) return;
  in.fail(entry->at,
          "`probe`: a call would choose the host that gets these `headers`; write `get` with its "
          "host, such as `https://api.example.com/...`, or name one host in `match`");
}

// Such an item has no place of its own; its list has.
constexpr std::string_view empty_item =
    "an item of this list is empty (a `-` with nothing after it)";

constexpr std::string_view needs_key =
    "`in_doubt: retry` needs an `upstream_key`: without one, sending again could act twice";

// Of the guard's keys only `timeout` means something there too.
void refuse_guard_keys(Reader& in, const Entries& entries) {
  for (const auto& setting : policy_settings()) {
    if (setting.key.name == "timeout") continue;
    if (const Entry* entry = find_entry(entries, setting.key.name))
      in.fail(entry->at, code(entry->key) +
                             " has no effect on a route that passes; leave it out, or write "
                             "`policy: once`");
  }
}

std::string derived_name(std::string_view match) {
  std::string name;
  for (const char c : match)
    if (c != ' ' && c != '\t')
      name += c;
    else if (!name.empty() && name.back() != ' ')
      name += ' ';
  return name;
}

struct ReadRoute {
  RouteDraft draft;
  YAML::Mark name_at, match_at;
};

std::optional<ReadRoute> read_route(Reader& in, const YAML::Node& node, const Config& config) {
  const std::size_t before = in.mistakes();
  const auto entries = in.entries(node, "a route");
  if (in.mistakes() != before && entries.empty()) return std::nullopt;
  in.refuse_unknown(entries, "routes");
  ReadRoute read;
  auto& [route, match] = read.draft;
  route.policy = config.defaults.once;
  read_settings(in, entries, route_settings(), read.draft);
  read_settings(in, entries, policy_settings(), route.policy);

  const Entry* match_entry = find_entry(entries, "match");
  if (match_entry == nullptr)
    in.fail(node.Mark(), "a route needs a `match`, such as `POST https://host/path`");
  read.match_at = match_entry != nullptr ? match_entry->value.Mark() : node.Mark();
  const Entry* name_entry = find_entry(entries, "name");
  read.name_at = name_entry != nullptr ? name_entry->value.Mark() : read.match_at;
  if (name_entry == nullptr) route.name = derived_name(match);

  if (find_entry(entries, "reads") == nullptr)
    route.policy.reads_pass = route.policy.reads_pass && find_entry(entries, "policy") == nullptr &&
                              find_entry(entries, "max") == nullptr;
  use_upstream_key(route.policy, route.policy.upstream_key);
  const RoutePattern* pattern = match.empty() ? nullptr : &route.pattern;
  if (!route.policy.guarded) {
    refuse_guard_keys(in, entries);
    if (find_entry(entries, "timeout") == nullptr) route.policy.timeout = Duration::zero();
  } else if (pattern != nullptr) {
    check_templates(in, entries, route.policy, pattern);
    check_probe(in, entries, route.policy, pattern);
    const Entry* doubt = find_entry(entries, "in_doubt");
    if (doubt != nullptr && route.policy.in_doubt == InDoubt::retry &&
        !has_upstream_key(config, route.policy, pattern))
      in.fail(doubt->value.Mark(), std::string(needs_key));
  }
  return read;
}

// Names that repeat, and routes that an earlier one hides.
void check_routes(Reader& in, const std::vector<ReadRoute>& routes) {
  for (std::size_t i = 0; i < routes.size(); ++i) {
    const auto& [later, match] = routes[i].draft;
    for (std::size_t j = 0; j < i; ++j) {
      const auto& earlier = routes[j];
      const std::string where = code(earlier.draft.route.name) + " (line " +
                                std::to_string(earlier.match_at.line + 1) + ")";
      if (!match.empty() && !earlier.draft.match.empty() &&
          earlier.draft.route.pattern.shadows(later.pattern)) {
        in.fail(routes[i].match_at, "this route can never match: " + where +
                                        " before it takes every call that it names; move it up, "
                                        "or remove it");
        break;
      }
      if (!later.name.empty() && later.name == earlier.draft.route.name) {
        in.fail(routes[i].name_at, "two routes have the name " + code(later.name) +
                                       "; the other one is on line " +
                                       std::to_string(earlier.name_at.line + 1));
        break;
      }
    }
  }
}

// The word of an outcome list: a class ("2xx" is 2) or a status.
Parsed<int> parse_status(std::string_view text) {
  if (text.size() == 3 && text.ends_with("xx") && text[0] >= '2' && text[0] <= '5')
    return text[0] - '0';
  if (const auto status = parse_count(text, {200, 599})) return static_cast<int>(*status);
  return tl::unexpected(code(text) +
                        " is not a status from 200 to 599, or a class from 2xx to 5xx");
}

}  // namespace

void read_outcomes(Reader& in, const Entry& entry, Policy& policy) {
  const auto lists = in.entries(entry.value, "`outcomes`");
  in.refuse_unknown(lists, "outcomes");
  std::vector<std::pair<int, std::string>> named;
  for (const auto& [name, verdict] :
       {std::pair{"completed", Verdict::completed}, std::pair{"released", Verdict::released},
        std::pair{"in_doubt", Verdict::in_doubt}}) {
    const Entry* list = find_entry(lists, name);
    if (list == nullptr) continue;
    for (const auto& item : in.items(*list)) {
      const std::size_t before = in.mistakes();
      int status = 0;
      in.set(Entry{name, list->at, item}, status, parse_status);
      if (in.mistakes() != before) continue;
      const auto twin = std::find_if(named.begin(), named.end(),
                                     [&](const auto& other) { return other.first == status; });
      if (twin != named.end()) {
        in.fail(item.Mark(), code(name) + ": " + code(item.Scalar()) +
                                 " stands twice, already in " + code(twin->second));
        continue;
      }
      named.emplace_back(status, name);
      if (status < 10)
        policy.outcomes.set_class(status, verdict);
      else
        policy.outcomes.set_status(status, verdict);
    }
  }
}

void read_probe(Reader& in, const Entry& entry, Policy& policy) {
  const std::size_t before = in.mistakes();
  const auto keys = in.entries(entry.value, "`probe`");
  in.refuse_unknown(keys, "probe");
  auto probe = std::make_shared<ProbeRule>();
  const auto text = [&](const char* name, auto take) {
    const Entry* at = find_entry(keys, name);
    if (at == nullptr) return false;
    if (const auto value = in.text(*at, true)) take(*at, *value);
    return true;
  };
  const auto is_pointer = [](std::string_view p) { return p.starts_with('/'); };
  const bool get = text("get", [&](const Entry& at, const std::string& value) {
    auto parsed = parse_key_template(value);
    if (!parsed) return in.fail(at.value.Mark(), "`get`: " + parsed.error());
    if (!value.starts_with('/') && !value.starts_with("https://") && !value.starts_with("http://"))
      return in.fail(at.value.Mark(), "`get` is a URL, or a path such as `/charges?reference=…`");
    const auto authority = value.starts_with('/') ? 0 : value.find("://") + 3;
    if (value.find('/', authority) > value.find("${"))
      return in.fail(
          at.value.Mark(),
          "`get`: a call may not choose the host that is asked; write it out, up to its `/`");
    probe->get = std::move(*parsed);
  });
  const bool executed_if = text("executed_if", [&](const Entry& at, const std::string& value) {
    if (!is_pointer(value))
      in.fail(at.value.Mark(), "`executed_if` is a JSON pointer: " +
                                   code(meant_pointer(value).value_or("/data/0/id")));
    probe->executed_if = value;
  });
  text("answer", [&](const Entry& at, const std::string& value) {
    if (!is_pointer(value) && !value.starts_with('{') && !value.starts_with('['))
      in.fail(at.value.Mark(), "`answer` is a JSON pointer such as " +
                                   code(meant_pointer(value).value_or("/data/0")) +
                                   ", or the text of a JSON object or list");
    probe->answer = value;
  });
  if (in.mistakes() == before && (!get || !executed_if))
    in.fail(entry.at, "`probe` needs both `get` and `executed_if`");
  if (const Entry* at = find_entry(keys, "settle_after"))
    in.set(*at, probe->settle_after, [](std::string_view value) {
      return parse_duration(value, {Duration(1), std::chrono::hours(24 * 7)}).map([](Duration d) {
        return std::optional(d);
      });
    });
  if (const Entry* at = find_entry(keys, "headers")) {
    probe->headers.emplace();
    for (const Entry& header : in.entries(at->value, "`headers`")) {
      if (!is_token(header.key)) in.fail(header.at, code(header.key) + " is not a header name");
      if (const auto value = in.text(header)) probe->headers->emplace_back(header.key, *value);
    }
  }
  policy.probe = std::move(probe);
}

void read_defaults(Reader& in, const Entry& entry, Config& config) {
  Entries policy_entries;
  for (const Entry& one : in.entries(entry.value, "`defaults`")) {
    // `post` and `Post` mean the method; `put` is nearer to it than to any key of a policy.
    const bool meant =
        misspelt_method(one.key) == "; did you mean " + code(upper_text(one.key)) + "?";
    if (is_method(one.key) || meant)
      set_method(in, one, config.defaults);
    else
      policy_entries.push_back(one);
  }
  in.refuse_unknown(policy_entries, "defaults");
  read_settings(in, policy_entries, policy_settings(), config.defaults.once);
  check_templates(in, policy_entries, config.defaults.once, nullptr);
  check_probe(in, policy_entries, config.defaults.once, nullptr);
}

void read_tls(Reader& in, const Entry& entry, Config& config) {
  const auto entries = in.entries(entry.value, "`tls`");
  in.refuse_unknown(entries, "tls");
  read_settings(in, entries, tls_settings(), config);
  for (const auto& [one, other] :
       {std::pair{"ca", "ca_key"}, std::pair{"ca_key", "ca"},
        std::pair{"client_cert", "client_key"}, std::pair{"client_key", "client_cert"},
        std::pair{"client_hosts", "client_cert"}})
    if (const Entry* here = find_entry(entries, one); here && !find_entry(entries, other))
      in.fail(here->at, code(one) + " needs " + code(other) + " beside it");
}

void read_mounts(Reader& in, const Entry& entry, Config& config) {
  for (const Entry& one : in.entries(entry.value, "`mounts`")) {
    const std::size_t before = in.mistakes();
    Mount mount;
    mount.prefix = one.key;
    if (!one.key.starts_with('/'))
      in.fail(one.at, "a mount is a path; did you mean " + code("/" + one.key) + "?");
    else if (one.key.size() > 1 && one.key.ends_with('/'))
      in.fail(one.at, "a mount has no final slash; write " +
                          code(one.key.substr(0, one.key.find_last_not_of('/') + 1)) +
                          ", which takes all below it too");
    else if (one.key.find_first_of("?#*{} ") != std::string::npos)
      in.fail(one.at, "a mount is a plain path such as `/stripe`; it takes all below it");
    else
      mount.prefix = normalise_path(one.key);
    const auto same = std::find_if(config.mounts.begin(), config.mounts.end(),
                                   [&](const Mount& m) { return m.prefix == mount.prefix; });
    if (same != config.mounts.end())
      in.fail(one.at, code(one.key) + " is the same mount as an earlier one");

    Entries entries;
    if (one.value.IsScalar())
      entries.push_back({"upstream", one.at, one.value});
    else
      entries = in.entries(one.value, "a mount");
    in.refuse_unknown(entries, "mounts");
    if (in.mistakes() == before && find_entry(entries, "upstream") == nullptr)
      in.fail(one.at, "the mount " + code(one.key) + " needs an `upstream`");
    read_settings(in, entries, mount_settings(), mount);
    config.mounts.push_back(std::move(mount));
  }
  std::stable_sort(config.mounts.begin(), config.mounts.end(), [](const Mount& a, const Mount& b) {
    return a.prefix.size() > b.prefix.size();
  });
}

void read_listeners(Reader& in, const Entry& entry, Config& config) {
  if (!entry.value.IsNull() && !entry.value.IsSequence())
    return in.fail(entry.value.Mark(), "`listeners` is a list (`- listen: 127.0.0.1:8081`)");
  for (const auto& node : in.items(entry)) {
    const std::size_t before = in.mistakes();
    if (node.IsNull()) in.fail(entry.at, std::string(empty_item));
    const auto entries = in.entries(node, "a listener");
    in.refuse_unknown(entries, "listeners");
    Listener listener;
    read_settings(in, entries, listener_settings(), listener);
    if (in.mistakes() == before && find_entry(entries, "listen") == nullptr)
      in.fail(node.Mark(), "a listener needs a `listen`, such as `127.0.0.1:8081`");
    const Entry* key = find_entry(entries, "upstream_key");
    if (key != nullptr && find_entry(entries, "upstream") == nullptr)
      in.fail(key->at, "`upstream_key` needs an `upstream` beside it");
    config.listeners.push_back(std::move(listener));
  }
}

void read_routes(Reader& in, const Entry& entry, Config& config) {
  if (!entry.value.IsNull() && !entry.value.IsSequence())
    return in.fail(entry.value.Mark(), "`routes` is a list (`- match: POST https://host/path`)");
  std::vector<ReadRoute> routes;
  for (const auto& node : in.items(entry))
    if (node.IsNull())
      in.fail(entry.at, std::string(empty_item));
    else if (auto read = read_route(in, node, config))
      routes.push_back(std::move(*read));
  check_routes(in, routes);
  for (auto& read : routes) config.routes.push_back(std::move(read.draft.route));
}

}  // namespace ledger
