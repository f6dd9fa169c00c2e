// The files that describe the configuration to people and editors say what the loader does.
#include <doctest/doctest.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "config/config.h"

using namespace ledger;
using nlohmann::json;

namespace {

const std::string root = LEDGER_SOURCE_DIR;

std::string read(const std::string& path) {
  std::ifstream file(root + "/" + path, std::ios::binary);
  REQUIRE_MESSAGE(file.is_open(), path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::string> no_variables(const std::string& name) {
  return name == "HOME" ? std::optional<std::string>("/home/me") : std::nullopt;
}

json schema() { return json::parse(read("ledger.schema.json")); }

std::set<std::string> names(std::string_view section) {
  std::set<std::string> out;
  for (const auto& key : config_keys(section)) out.insert(key.name);
  return out;
}

// YAML's core schema, as editors read the file.
json to_json(const YAML::Node& node) {
  if (node.IsNull()) return nullptr;
  if (node.IsSequence()) {
    json list = json::array();
    for (const auto& item : node) list.push_back(to_json(item));
    return list;
  }
  if (node.IsMap()) {
    json map = json::object();
    for (const auto& pair : node) map[pair.first.Scalar()] = to_json(pair.second);
    return map;
  }
  static const std::regex integer("-?[0-9]+");
  if (node.Tag() != "!" && std::regex_match(node.Scalar(), integer))
    return std::stoll(node.Scalar());
  if (node.Tag() != "!" && (node.Scalar() == "true" || node.Scalar() == "false"))
    return node.Scalar() == "true";
  return node.Scalar();
}

bool has_type(const json& value, const std::string& type) {
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "null" && value.is_null()) || (type == "string" && value.is_string()) ||
         (type == "integer" && value.is_number_integer()) ||
         (type == "boolean" && value.is_boolean());
}

// The part of JSON Schema (draft 7) that ledger.schema.json uses; any other keyword fails the test.
class Schema {
 public:
  explicit Schema(json document) : document_(std::move(document)) {}
  bool accepts(const json& value) const { return accepts(document_, value); }

 private:
  bool accepts(const json& rule, const json& value) const {
    if (rule.contains("$ref"))
      return accepts(document_.at(json::json_pointer(rule["$ref"].get<std::string>().substr(1))),
                     value);
    for (const auto& [word, with] : rule.items())
      if (!keyword(rule, word, with, value)) return false;
    return true;
  }

  bool keyword(const json& rule, const std::string& word, const json& with,
               const json& value) const {
    if (word == "type") {
      if (with.is_string()) return has_type(value, with);
      return std::any_of(with.begin(), with.end(),
                         [&](const json& t) { return has_type(value, t); });
    }
    if (word == "enum") return std::find(with.begin(), with.end(), value) != with.end();
    if (word == "const") return value == with;
    if (word == "anyOf")
      return std::any_of(with.begin(), with.end(),
                         [&](const json& r) { return accepts(r, value); });
    if (word == "pattern")
      return !value.is_string() ||
             std::regex_search(value.get<std::string>(), std::regex(with.get<std::string>()));
    if (word == "minLength")
      return !value.is_string() || value.get<std::string>().size() >= with.get<std::size_t>();
    if (word == "minimum") return !value.is_number() || value >= with;
    if (word == "maximum") return !value.is_number() || value <= with;
    if (word == "minItems") return !value.is_array() || value.size() >= with.get<std::size_t>();
    if (word == "items")
      return !value.is_array() || std::all_of(value.begin(), value.end(),
                                              [&](const json& v) { return accepts(with, v); });
    if (word == "required")
      return !value.is_object() || std::all_of(with.begin(), with.end(), [&](const json& name) {
        return value.contains(name.get<std::string>());
      });
    if (word == "dependencies")
      return std::all_of(with.items().begin(), with.items().end(), [&](const auto& pair) {
        return !value.contains(pair.key()) ||
               std::all_of(pair.value().begin(), pair.value().end(), [&](const json& needed) {
                 return value.contains(needed.template get<std::string>());
               });
      });
    if (word == "properties" || word == "patternProperties" || word == "additionalProperties")
      return !value.is_object() || members(rule, value);
    const bool note =
        word == "description" || word == "title" || word == "$schema" || word == "definitions";
    CHECK_MESSAGE(note, "a keyword that this test does not know: ", word);
    return true;
  }

  bool members(const json& rule, const json& value) const {
    for (const auto& [name, member] : value.items()) {
      if (rule.contains("properties") && rule["properties"].contains(name)) {
        if (!accepts(rule["properties"][name], member)) return false;
        continue;
      }
      bool known = !rule.contains("additionalProperties");
      const json patterns = rule.value("patternProperties", json::object());
      for (const auto& [pattern, inner] : patterns.items()) {
        if (!std::regex_search(name, std::regex(pattern))) continue;
        if (!accepts(inner, member)) return false;
        known = true;
      }
      if (!known) return false;
    }
    return true;
  }

  json document_;
};

std::set<std::string> properties(const json& object) {
  std::set<std::string> out;
  for (const auto& item : object.at("properties").items()) out.insert(item.key());
  return out;
}

}  // namespace

TEST_CASE("ledger.yaml loads as it is, with no variable set") {
  const auto config = load_config(root + "/ledger.yaml", no_variables);
  std::string all;
  if (!config)
    for (const auto& error : config.error()) all += error.to_string() + "\n";
  REQUIRE_MESSAGE(config.has_value(), all);

  CHECK(config->mounts.size() == 1);
  CHECK(config->mounts[0].upstream.to_string() == "https://api.stripe.com/");
  CHECK(config->mounts[0].upstream_key == "Idempotency-Key");
  REQUIRE(config->listeners.size() == 2);
  CHECK(config->listeners[1].listen == Endpoint{"127.0.0.1", 8081});
  CHECK(config->listeners[1].upstream->host == "api.twilio.com");
  REQUIRE(config->routes.size() == 3);
  CHECK(config->routes[0].name == "charge_card");
  CHECK(config->routes[1].name == "llm");
  CHECK_FALSE(config->routes[1].policy.guarded);
  CHECK(config->routes[2].name == "send_sms");
  CHECK(config->routes[2].policy.max == 1);
  CHECK(config->routes[2].policy.identity.label != nullptr);
  const auto sms = *parse_url("https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json");
  CHECK(config->routes[2].pattern.match("POST", sms) == Captures{{"sid", "AC1"}});
}

TEST_CASE("what ledger.yaml writes out as the defaults are the defaults") {
  const auto config = *load_config(root + "/ledger.yaml", no_variables);
  auto standard = *parse_config("", root + "/ledger.yaml", no_variables);
  CHECK(config.listeners[0].listen == standard.listeners[0].listen);
  CHECK(config.admin == standard.admin);
  CHECK(config.store_url == standard.store_url);
  CHECK(config.durability == standard.durability);
  CHECK(config.defaults.guarded == standard.defaults.guarded);
  CHECK(config.tls_roots == standard.tls_roots);
  CHECK(config.auth_token == standard.auth_token);
  CHECK(config.state_dir == "/home/me/.local/state/ledger");
  CHECK(config.header_max == standard.header_max);
  CHECK(config.connections_max == standard.connections_max);
  CHECK(config.idle_timeout == standard.idle_timeout);
  CHECK(config.header_timeout == standard.header_timeout);
  CHECK(config.connect_timeout == standard.connect_timeout);
  CHECK(config.drain_timeout == standard.drain_timeout);
  CHECK(config.threads == standard.threads);

  // charge_card spells every key out; all but two are the defaults.
  const Policy& written = config.routes[0].policy;
  const Policy plain;
  CHECK(written.upstream_key == "Idempotency-Key");
  CHECK(written.identity.ignore.size() == 1);
  CHECK(written.guarded == plain.guarded);
  CHECK(written.max == plain.max);
  CHECK(written.ttl == plain.ttl);
  CHECK(written.on_duplicate == plain.on_duplicate);
  CHECK(written.on_in_flight == plain.on_in_flight);
  CHECK(written.wait == plain.wait);
  CHECK(written.in_doubt == plain.in_doubt);
  CHECK(written.when_in_doubt() == InDoubt::retry);
  CHECK(written.in_doubt_ttl == plain.in_doubt_ttl);
  for (int status = 200; status < 600; ++status)
    for (const bool flag : {false, true}) {
      CHECK(written.outcomes.of(status, flag, false) == plain.outcomes.of(status, flag, false));
      CHECK(written.outcomes.of(status, false, flag) == plain.outcomes.of(status, false, flag));
    }
  CHECK(written.timeout == plain.timeout);
  CHECK(written.upstream_key_ttl == plain.upstream_key_ttl);
  CHECK(written.body_max == plain.body_max);
  CHECK(written.response_max == plain.response_max);
  CHECK(written.identity.headers == plain.identity.headers);
  CHECK(written.identity.credential_headers == plain.identity.credential_headers);
  CHECK(written.identity.scope == plain.identity.scope);
  CHECK(written.identity.exact_floats == plain.identity.exact_floats);
  CHECK(written.identity.key == plain.identity.key);
  CHECK(written.identity.idempotency_key == plain.identity.idempotency_key);
}

TEST_CASE("ledger.yaml shows every key") {
  const auto text = read("ledger.yaml");
  for (const auto& section : config_sections())
    for (const auto& name : names(section)) {
      CAPTURE(section);
      CAPTURE(name);
      CHECK(text.find(name + ":") != std::string::npos);
    }
}

TEST_CASE("the schema has exactly the loader's keys") {
  const auto s = schema();
  CHECK(properties(s) == names(""));
  for (const auto* section : {"admin", "limits", "tls", "https", "auth", "defaults"}) {
    CAPTURE(section);
    CHECK(properties(s["properties"][section]) == names(section));
  }
  CHECK(properties(s["properties"]["store"]["anyOf"][1]) == names("store"));
  for (const auto& mount : s["properties"]["mounts"]["patternProperties"])
    CHECK(properties(mount["anyOf"][1]) == names("mounts"));
  CHECK(properties(s["properties"]["listeners"]["items"]) == names("listeners"));
  CHECK(properties(s["properties"]["routes"]["items"]) == names("routes"));
  CHECK(properties(s["definitions"]["policy"]["outcomes"]) == names("outcomes"));
  CHECK(properties(s["definitions"]["policy"]["probe"]) == names("probe"));
}

TEST_CASE("the schema accepts what the loader accepts") {
  const Schema editor(schema());
  CHECK(editor.accepts(to_json(YAML::Load(read("ledger.yaml")))));
  for (const auto* text :
       {"", "listen: '[::1]:0'", "store: 'memory:'", "store: {durability: normal}",
        "admin:", "defaults: {POST: pass, PURGE: once, timeout: 5s}",
        "mounts: {/: https://h, /a/b: http://h:1/x}",
        "mounts: {/s: {upstream: '${UPSTREAM:-https://h}', upstream_key: X-K}}",
        "listeners: [{listen: '127.0.0.1:1'}]",
        "limits: {threads: 0, body_max: 100, header_max: 8KiB}", "routes: [{match: POST /x}]",
        "routes: [{match: '* https://*.a.com/{id}/**', max: 3, ttl: forever}]",
        "routes: [{match: POST /x, wait: '${W:-5s}', policy: '${P:-once}'}]",
        "routes: [{match: POST /x, scope: none, float_digits: 8, outcomes: {completed: [2xx, 404], "
        "released: 409}}]",
        "routes: [{match: POST /x, scope: [agent, run], float_digits: exact, headers: X-A, ignore: "
        "[form:a]}]"}) {
    CAPTURE(text);
    CHECK(parse_config(text, "t", no_variables));
    CHECK(editor.accepts(to_json(YAML::Load(text))));
  }
}

TEST_CASE("the schema and the loader refuse the same slips") {
  const Schema editor(schema());
  for (const auto* text : {"[]",
                           "lisen: 127.0.0.1:1",
                           "listen: 8080",
                           "listen: ':8080'",
                           "store: postgres://h",
                           "admin: {tokn: x}",
                           "defaults: {POST: twice}",
                           "defaults: {post: once}",
                           "mounts: {s: https://h}",
                           "mounts: {/s/: https://h}",
                           "mounts: {/s: {}}",
                           "mounts: {/s: h}",
                           "listeners: [{upstream: https://h}]",
                           "limits: {threads: -1}",
                           "limits: {idle_timeout: 5}",
                           "routes: {}",
                           "routes: [{name: x}]",
                           "routes: [{match: POST}]",
                           "routes: [{match: POST /x, ttl: 5}]",
                           "routes: [{match: POST /x, max: 0}]",
                           "routes: [{match: POST /x, policy: onse}]",
                           "routes: [{match: POST /x, tool: y}]",
                           "routes: [{match: POST /x, scope: []}]",
                           "routes: [{match: POST /x, float_digits: 6}]",
                           "routes: [{match: POST /x, body_max: 1MB}]",
                           "routes: [{match: POST /x, name: a b}]",
                           "routes: [{match: POST /x, outcomes: {completed: 1xx}}]",
                           "routes: [{match: POST /x, headers: [a b]}]",
                           "auth: {token: a b}"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_config(text, "t", no_variables));
    CHECK_FALSE(editor.accepts(to_json(YAML::Load(text))));
  }
}

TEST_CASE(
    "docs/config.md has every key with its meaning, range and default, as the loader has them") {
  const auto text = read("docs/config.md");
  const auto cell = [](const std::string& plain) {
    std::string out;
    for (const char c : plain) out += c == '|' ? std::string("\\|") : std::string(1, c);
    return out;
  };
  for (const auto& section : config_sections()) {
    if (section == "defaults") continue;  // the keys of a route
    const std::string heading =
        section.empty() ? "\n## The top of the file\n" : "\n## `" + section + "`\n";
    const auto begin = text.find(heading);
    CAPTURE(heading);
    REQUIRE(begin != std::string::npos);
    const auto end = text.find("\n## ", begin + 1);
    const auto part = text.substr(begin, end == std::string::npos ? end : end - begin);
    for (const auto& key : config_keys(section)) {
      const auto row = "| `" + key.name + "` | " + cell(key.about) + " | " + cell(key.takes) +
                       " | " + cell(key.standard) + " |";
      CHECK_MESSAGE(part.find(row) != std::string::npos, row);
    }
  }
}
