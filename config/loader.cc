// ledger.yaml -> Config: YAML, then the table of settings, then what only the whole file can tell.
#include <yaml-cpp/eventhandler.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "config/settings.h"

namespace ledger {
namespace {

// What yaml-cpp says, and the slip that mostly causes it.
std::string syntax_error(const YAML::Exception& failure) {
  const std::string what = failure.msg;
  std::string hint;
  if (what.find("alias") != std::string::npos || what.find("anchor") != std::string::npos)
    hint = "; put a value that begins with `*` or `&` in quotes";
  else if (what.find("flow") != std::string::npos || what.find("end of map") != std::string::npos ||
           what.find("end of sequence") != std::string::npos)
    hint = "; check the brackets, and put values that hold `{ } [ ]` in quotes";
  else if (what.find("unknown token") != std::string::npos)
    hint = "; put a value that begins with `@`, `%` or a backquote in quotes";
  else if (what.find("illegal map value") != std::string::npos)
    hint = "; check the indentation (spaces, no tabs), and quote values that hold `: `";
  return "not YAML: " + what + hint;
}

// Every address that will be bound, with the place where it was asked for.
struct Bound {
  Endpoint endpoint;
  YAML::Mark at;
  std::string what;
};

YAML::Mark mark_of(const Entries& entries, std::string_view key) {
  const Entry* entry = find_entry(entries, key);
  return entry != nullptr ? entry->value.Mark() : YAML::Mark::null_mark();
}

std::vector<Bound> bound_addresses(const Entries& top, const Config& config) {
  std::vector<Bound> all;
  all.push_back({config.listeners.front().listen, mark_of(top, "listen"), "`listen`"});
  YAML::Mark admin_at = YAML::Mark::null_mark();
  if (const Entry* admin = find_entry(top, "admin"); admin != nullptr && admin->value.IsMap())
    if (const YAML::Node listen = admin->value["listen"]) admin_at = listen.Mark();
  all.push_back({config.admin, admin_at, "`admin.listen`"});
  const Entry* listeners = find_entry(top, "listeners");
  for (std::size_t i = 1; i < config.listeners.size(); ++i)
    all.push_back({config.listeners[i].listen, listeners->value[i - 1].Mark(), "a listener"});
  return all;
}

// The default address has no place in the file: then the other one's place is reported.
void check_collisions(Reader& in, const std::vector<Bound>& all) {
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (collide(all[i].endpoint, all[j].endpoint))
        in.fail(all[i].at.is_null() ? all[j].at : all[i].at, all[i].what + " and " + all[j].what +
                                                                 " cannot both listen on " +
                                                                 all[i].endpoint.to_string());
}

// Whoever can connect can spend the agents' credentials' effects: strangers need a token.
void check_tokens(Reader& in, const Entries& top, const Config& config,
                  const std::vector<Bound>& all) {
  const auto beyond = [&](const Bound& bound, const std::string& key) {
    in.fail(bound.at, bound.what + ": " + bound.endpoint.to_string() +
                          " can be reached from other machines; set " + code(key) +
                          ", or listen on 127.0.0.1");
  };
  // A token that failed to load was reported already.
  const Entry* admin = find_entry(top, "admin");
  const bool admin_token = !config.admin_token.empty() ||
                           (admin != nullptr && admin->value.IsMap() && admin->value["token"]);
  const Entry* auth = find_entry(top, "auth");
  const bool auth_token = !config.auth_token.empty() ||
                          (auth != nullptr && auth->value.IsMap() && auth->value["token"]);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].endpoint.host.empty() || all[i].endpoint.loopback()) continue;
    const bool is_admin = i == 1;
    if (is_admin && !admin_token) beyond(all[i], "admin.token");
    if (!is_admin && !auth_token) beyond(all[i], "auth.token");
  }
}

// `defaults: {in_doubt: retry}` helps only where some call has an upstream key.
void check_default_retry(Reader& in, const Entries& top, const Config& config) {
  const Entry* defaults = find_entry(top, "defaults");
  if (defaults == nullptr || !defaults->value.IsMap() || !defaults->value["in_doubt"]) return;
  bool any =
      config.defaults.once.in_doubt != InDoubt::retry || !config.defaults.once.upstream_key.empty();
  for (const auto& mount : config.mounts) any = any || !mount.upstream_key.empty();
  for (const auto& listener : config.listeners) any = any || !listener.upstream_key.empty();
  for (const auto& route : config.routes) any = any || !route.policy.upstream_key.empty();
  if (!any)
    in.fail(defaults->value["in_doubt"].Mark(),
            "`in_doubt: retry` needs an `upstream_key`, and nothing in this file has one");
}

// A route that guards a host whose tunnels are never opened would be a promise that nobody keeps.
void check_never_opened(Reader& in, const Entries& top, const Config& config) {
  for (const auto& route : config.routes) {
    const auto& pattern = route.pattern;
    if (!route.policy.guarded || !pattern.opens_any() || pattern.host().starts_with('*')) continue;
    for (const auto& never : config.https.never)
      if (never.shadows(pattern))
        in.fail(find_entry(top, "https")->value["never"].Mark(),
                "`never` has " + code(never.host()) + ", whose https calls the route " +
                    code(route.name) + " guards: they would go by unseen; take one of the two out");
  }
}

void read_document(Reader& in, const YAML::Node& document, Config& config) {
  const auto top = in.entries(document, "the file");
  in.refuse_unknown(top, "");
  read_settings(in, top, top_settings(), config);
  use_upstream_key(config.defaults.once, config.defaults.once.upstream_key);
  config.defaults.pass = config.defaults.once;
  config.defaults.pass.guarded = false;
  config.defaults.pass.timeout = Duration::zero();

  check_never_opened(in, top, config);
  const auto all = bound_addresses(top, config);
  check_collisions(in, all);
  check_tokens(in, top, config, all);
  check_default_retry(in, top, config);
}

// Counts documents. YAML::LoadAll would load them, and never end where a comma stands between them.
struct Documents : YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark& mark) override {
    ++count;
    at = mark;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  int count = 0;
  YAML::Mark at;  // of the last one
};

void refuse_second_document(Reader& in, const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  Documents seen;
  while (seen.count < 2 && parser.HandleNextDocument(seen)) continue;
  if (seen.count > 1)
    in.fail(seen.at,
            "a second document (`---`, or text behind the end of the first); put everything in "
            "one");
}

std::vector<ConfigError> whole_file(const std::string& file, std::string message) {
  return {ConfigError{file, 0, 0, std::move(message)}};
}

}  // namespace

tl::expected<Config, std::vector<ConfigError>> parse_config(std::string_view text,
                                                            const std::string& file,
                                                            const Environment& env) {
  Reader in(file, env);
  Config config = default_config();
  if (const auto beside = in.path("ledger.db")) config.store_url = "sqlite:" + *beside;
  try {
    const std::string whole(text);
    refuse_second_document(in, whole);
    read_document(in, YAML::Load(whole), config);
  } catch (const YAML::Exception& failure) {
    in.fail(failure.mark, syntax_error(failure));
  }
  if (in.mistakes() > 0) return tl::unexpected(in.errors());
  return config;
}

tl::expected<Config, std::vector<ConfigError>> load_config(const std::string& path,
                                                           const Environment& env) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // A directory opens, but does not read; an empty file sets failbit and is fine.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad())
    return tl::unexpected(whole_file(
        path, "cannot be read: " + std::string(errno != 0 ? std::strerror(errno) : "input error")));
  return parse_config(text.str(), path, env);
}

}  // namespace ledger
