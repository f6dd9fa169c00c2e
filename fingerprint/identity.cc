#include "fingerprint/identity.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "fingerprint/body.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// Headers that choose the operation or the account.
constexpr std::string_view identity_headers[] = {
    "openai-organization", "openai-project",         "soapaction",
    "stripe-account",      "stripe-context",         "x-account-id",
    "x-amz-target",        "x-http-method-override", "x-tenant-id"};

constexpr std::uint32_t occurrence_max = 1'000'000;

using Fields = std::vector<std::pair<std::string, std::string>>;  // lower-case name, value

std::optional<std::string_view> header(const Call& call, std::string_view name) {
  for (const auto& h : call.headers)
    if (same_text(h.name, name)) return h.value;
  return std::nullopt;
}

bool contains_name(const std::vector<std::string>& names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](const auto& n) { return same_text(n, name); });
}

void sort_by_name(Fields& fields) {
  std::stable_sort(fields.begin(), fields.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
}

Fields part_of_the_call(const Call& call, const IdentityRules& rules) {
  Fields fields;
  for (const auto& h : call.headers) {
    const bool known = std::any_of(std::begin(identity_headers), std::end(identity_headers),
                                   [&](auto name) { return same_text(name, h.name); });
    if (known || contains_name(rules.headers, h.name))
      fields.emplace_back(lower_text(h.name), h.value);
  }
  sort_by_name(fields);
  return fields;
}

// Of AWS SigV4 only the access key id: the signature changes with every call.
std::string_view credential_value(std::string_view name, std::string_view value) {
  constexpr std::string_view marker = "Credential=";
  if (!same_text(name, "Authorization") || !value.starts_with("AWS4-")) return value;
  const auto at = value.find(marker);
  if (at == value.npos) return value;
  const auto id = value.substr(at + marker.size());
  return id.substr(0, id.find_first_of("/, "));
}

bool is_credential(std::string_view name, const IdentityRules& rules) {
  if (same_text(name, "Authorization") || same_text(name, "X-Auth-Token") ||
      same_text(name, "Private-Token") || contains_name(rules.credential_headers, name))
    return true;
  const auto lower = lower_text(name);
  return lower.find("api-key") != lower.npos || lower.find("access-token") != lower.npos;
}

// An HMAC of every credential present; the cookie only where there is no other. Empty: none at all.
std::string credential_digest(const Call& call, const IdentityRules& rules,
                              std::string_view secret) {
  Fields fields;
  for (const auto& h : call.headers)
    if (is_credential(h.name, rules))
      fields.emplace_back(lower_text(h.name), credential_value(h.name, h.value));
  if (fields.empty())
    for (const auto& h : call.headers)
      if (same_text(h.name, "Cookie")) fields.emplace_back("cookie", h.value);
  if (fields.empty()) return "";
  sort_by_name(fields);
  std::string data;
  for (const auto& [name, value] : fields)
    for (const auto* field : {&name, &value})
      ((data += std::to_string(field->size())) += ':') += *field;
  return to_hex(hmac_sha256(secret, data));
}

Fields scope_of(const Call& call, const IdentityRules& rules, std::string_view secret) {
  const auto has = [&](ScopePart p) {
    return std::find(rules.scope.begin(), rules.scope.end(), p) != rules.scope.end();
  };
  Fields fields;
  if (has(ScopePart::agent)) fields.emplace_back("agent", call.agent);
  if (has(ScopePart::credential))
    fields.emplace_back("credential", credential_digest(call, rules, secret));
  if (has(ScopePart::run)) fields.emplace_back("run", call.run);
  return fields;
}

void add_fields(FieldHash& hash, const Fields& fields) {
  hash.add(std::to_string(fields.size()));
  for (const auto& [name, value] : fields) hash.add(name).add(value);
}

std::string canonical_query(const Call& call, const IdentityRules& rules) {
  auto pairs = parse_pairs(call.url->query);
  std::erase_if(pairs, [&](const auto& p) {
    return std::any_of(rules.ignore.begin(), rules.ignore.end(), [&](const IgnoreRule& r) {
      return r.where == IgnoreRule::Where::query && r.name == p.first;
    });
  });
  return canonical_pairs(std::move(pairs));
}

Digest fingerprint_of(FieldHash& hash, const Call& call, const IdentityRules& rules,
                      const Body& body, const Fields& scope) {
  const auto canonical = body.canonical(rules);
  hash.add("v1")
      .add(call.method)
      .add(call.url->scheme)
      .add(call.url->host)
      .add(call.url->port)
      .add(call.url->path);
  hash.add(canonical_query(call, rules)).add(canonical.kind).add(canonical.bytes);
  add_fields(hash, part_of_the_call(call, rules));
  add_fields(hash, scope);
  return hash.finish();
}

// --- keys
// ------------------------------------------------------------------------------------------

std::optional<std::string> template_part(const KeyTemplate::Part& part, const Call& call,
                                         const Body& body, const Captures& captures) {
  using Kind = KeyTemplate::Part::Kind;
  const auto named = [&](const auto& pairs) -> std::optional<std::string> {
    for (const auto& [name, value] : pairs)
      if (name == part.text) return value;
    return std::nullopt;
  };
  switch (part.kind) {
    case Kind::literal:
      return part.text;
    case Kind::header:
      if (const auto value = header(call, part.text)) return std::string(*value);
      return std::nullopt;
    case Kind::body:
      return body.json_scalar(part.text);
    case Kind::form:
      return body.form_field(part.text);
    case Kind::query:
      return named(parse_pairs(call.url->query));
    case Kind::path:
      return named(captures);
  }
  return std::nullopt;
}

struct KindName {
  KeyTemplate::Part::Kind kind;
  std::string_view name;
};
constexpr std::array<KindName, 5> template_sources = {{{KeyTemplate::Part::Kind::header, "header"},
                                                       {KeyTemplate::Part::Kind::body, "body"},
                                                       {KeyTemplate::Part::Kind::form, "form"},
                                                       {KeyTemplate::Part::Kind::query, "query"},
                                                       {KeyTemplate::Part::Kind::path, "path"}}};

tl::expected<std::string, IdentityError> fill(const KeyTemplate& key, const Call& call,
                                              const Body& body, const Captures& captures) {
  std::string text;
  for (const auto& part : key.parts) {
    const auto value = template_part(part, call, body, captures);
    if (!value || value->empty()) {
      std::string_view source;
      for (const auto& s : template_sources)
        if (s.kind == part.kind) source = s.name;
      return tl::unexpected(IdentityError{
          "key-missing",
          "The route's key needs `" + std::string(source) + ":" + part.text +
              "`, which this call does not have; nothing was sent. Add it, or send a Ledger-Key."});
    }
    text += *value;
  }
  return text;
}

struct ExplicitKey {
  KeySource source = KeySource::fingerprint;
  std::string text;
};

tl::expected<ExplicitKey, IdentityError> explicit_key(const Call& call, const IdentityRules& rules,
                                                      const Body& body, const Captures& captures) {
  if (const auto given = header(call, "Ledger-Key")) {
    if (given->empty())
      return tl::unexpected(IdentityError{
          "bad-request", "The header Ledger-Key is empty; give it a value or leave it out."});
    return ExplicitKey{KeySource::header, std::string(*given)};
  }
  if (rules.key) {
    auto text = fill(*rules.key, call, body, captures);
    if (!text) return tl::unexpected(text.error());
    return ExplicitKey{KeySource::route, std::move(*text)};
  }
  const auto given = header(call, "Idempotency-Key");
  const bool counts =
      given && !given->empty() &&
      (rules.idempotency_key == IdempotencyKeyMode::honour ||
       (rules.idempotency_key == IdempotencyKeyMode::automatic && !is_generated_key(*given)));
  if (counts) return ExplicitKey{KeySource::idempotency_key, std::string(*given)};
  return ExplicitKey{};
}

tl::expected<std::string, IdentityError> occurrence_of(const Call& call) {
  const auto given = header(call, "Ledger-Occurrence");
  if (!given) return "1";
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), n);
  if (error != std::errc() || end != given->data() + given->size() || n == 0 || n > occurrence_max)
    return tl::unexpected(
        IdentityError{"bad-request", "Ledger-Occurrence is `" + std::string(given->substr(0, 40)) +
                                         "`, which is not a whole number from 1 to 1000000."});
  return std::to_string(n);
}

bool is_uuid(std::string_view s) {
  if (s.size() != 36) return false;
  for (std::size_t i = 0; i < s.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = lower_char(s[i]);
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

}  // namespace

std::string_view to_string(KeySource source) {
  static constexpr std::string_view names[] = {"fingerprint", "route", "header", "idempotency-key"};
  return names[static_cast<std::size_t>(source)];
}

std::optional<KeySource> key_source_from(std::string_view text) {
  for (const auto source :
       {KeySource::fingerprint, KeySource::route, KeySource::header, KeySource::idempotency_key})
    if (to_string(source) == text) return source;
  return std::nullopt;
}

bool is_generated_key(std::string_view value) {
  if (value.size() > 2 && value.front() == '"' && value.back() == '"')
    value = value.substr(1, value.size() - 2);
  if (value.size() < 36 || !is_uuid(value.substr(value.size() - 36))) return false;
  const auto prefix = value.substr(0, value.size() - 36);
  return prefix.empty() || ((prefix.starts_with("stripe-") || prefix.starts_with("stainless-")) &&
                            prefix.ends_with("-retry-"));
}

tl::expected<IgnoreRule, std::string> parse_ignore(std::string_view text) {
  const auto colon = text.find(':');
  const auto where = text.substr(0, colon);
  IgnoreRule rule;
  if (colon == text.npos || (where != "body" && where != "form" && where != "query"))
    return tl::unexpected("`" + std::string(text) +
                          "` names no field: write body:/json/pointer, form:name or query:name");
  const auto name = text.substr(colon + 1);
  if (where != "body") {
    if (name.empty()) return tl::unexpected("`" + std::string(text) + "` lacks the field's name");
    rule.where = where == "form" ? IgnoreRule::Where::form : IgnoreRule::Where::query;
    rule.name = name;
    return rule;
  }
  auto tokens = pointer_tokens(name);
  if (!tokens || tokens->empty())
    return tl::unexpected(
        "`" + std::string(name) +
        "` is not a JSON pointer to a field: write body:/field or body:/list/*/field");
  for (const auto& token : *tokens) rule.pattern.any.push_back(token == "*");
  rule.pattern.tokens = std::move(*tokens);
  return rule;
}

tl::expected<KeyTemplate, std::string> parse_key_template(std::string_view text) {
  KeyTemplate out;
  const auto literal = [&](std::string_view piece) {
    if (!piece.empty()) out.parts.push_back({KeyTemplate::Part::Kind::literal, std::string(piece)});
  };
  while (!text.empty()) {
    const auto open = text.find("${");
    literal(text.substr(0, open));
    if (open == text.npos) break;
    const auto close = text.find('}', open);
    if (close == text.npos) return tl::unexpected<std::string>("`${` without its `}`");
    const auto inside = text.substr(open + 2, close - open - 2);
    text.remove_prefix(close + 1);
    const auto colon = inside.find(':');
    const auto* source =
        std::find_if(template_sources.begin(), template_sources.end(),
                     [&](const auto& s) { return s.name == inside.substr(0, colon); });
    if (colon == inside.npos || source == template_sources.end() || colon + 1 == inside.size())
      return tl::unexpected("`${" + std::string(inside) +
                            "}` names nothing: write ${header:X}, ${body:/pointer}, ${form:name}, "
                            "${query:name} or ${path:name}");
    const auto name = inside.substr(colon + 1);
    if (source->kind == KeyTemplate::Part::Kind::body &&
        (name.front() != '/' || !pointer_tokens(name)))
      return tl::unexpected("`" + std::string(name) + "` is not a JSON pointer: it starts with /");
    out.parts.push_back({source->kind, std::string(name)});
  }
  const bool fixed = std::all_of(out.parts.begin(), out.parts.end(), [](const auto& p) {
    return p.kind == KeyTemplate::Part::Kind::literal;
  });
  if (fixed)
    return tl::unexpected<std::string>(
        "a key without any ${...} would make all calls of the route the same");
  return out;
}

tl::expected<Identity, IdentityError> identify(const Call& call, const IdentityRules& rules,
                                               std::string_view route, const Captures& captures,
                                               std::string_view secret) {
  const Body body(call);
  auto occurrence = occurrence_of(call);
  if (!occurrence) return tl::unexpected(occurrence.error());
  auto key = explicit_key(call, rules, body, captures);
  if (!key) return tl::unexpected(key.error());

  const auto scope = scope_of(call, rules, secret);
  FieldHash hash;
  Identity identity;
  identity.fingerprint = fingerprint_of(hash, call, rules, body, scope);
  identity.source = key->source;
  identity.key = std::move(key->text);

  hash.add("id-v1");
  if (identity.explicit_key()) {
    hash.add("explicit");
    if (route.empty())
      hash.add("call")
          .add(call.method)
          .add(call.url->scheme)
          .add(call.url->host)
          .add(call.url->port)
          .add(call.url->path);
    else
      hash.add("route").add(route);
    add_fields(hash, scope);
    hash.add(identity.key);
  } else {
    hash.add("fingerprint");
    hash.add(
        {reinterpret_cast<const char*>(identity.fingerprint.data()), identity.fingerprint.size()});
  }
  identity.id = hash.add(*occurrence).finish();
  return identity;
}

CanonicalBody canonical_body(const Call& call, const IdentityRules& rules) {
  return Body(call).canonical(rules);
}

bool is_unguarded_json_rpc(const Call& call) {
  if (call.body.find("\"jsonrpc\"") == call.body.npos) return false;
  const Body body(call);
  const auto* document = body.json();
  if (document == nullptr) return false;
  const auto is_message = [&](const std::string& at) {
    return document->scalar_at(at + "/jsonrpc") == std::optional<std::string>("2.0");
  };
  const auto is_tool_call = [&](const std::string& at) {
    return document->scalar_at(at + "/method") == std::optional<std::string>("tools/call");
  };
  if (!document->is_array()) return is_message("") && !is_tool_call("");
  for (std::size_t i = 0; document->has("/" + std::to_string(i)); ++i) {
    const auto at = "/" + std::to_string(i);
    if (!is_message(at) || is_tool_call(at)) return false;
  }
  return document->has("/0");
}

}  // namespace ledger
