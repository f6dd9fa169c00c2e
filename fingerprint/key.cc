#include "fingerprint/key.h"

#include <algorithm>
#include <array>

#include "fingerprint/text.h"

namespace ledger {
namespace {

using Part = KeyTemplate::Part;

struct Source {
  Part::Kind kind;
  std::string_view name;
};
constexpr std::array<Source, 5> sources = {{{Part::Kind::header, "header"},
                                            {Part::Kind::body, "body"},
                                            {Part::Kind::form, "form"},
                                            {Part::Kind::query, "query"},
                                            {Part::Kind::path, "path"}}};

template <typename Pairs>
std::optional<std::string> first_named(const Pairs& pairs, std::string_view wanted) {
  for (const auto& [name, value] : pairs)
    if (name == wanted) return value;
  return std::nullopt;
}

// What a part of a key template is in this call.
// `round`: numbers as the fingerprint sees them, so that float drift makes no new key.
std::optional<std::string> value_of(const Part& part, const Call& call, bool round,
                                    const Body& body, const Captures& captures) {
  switch (part.kind) {
    case Part::Kind::literal:
      return part.text;
    case Part::Kind::header:
      if (const auto value = find_header(call, part.text)) return std::string(*value);
      return std::nullopt;
    case Part::Kind::body: {
      const auto* node = body.json() != nullptr ? body.json()->at(part.text) : nullptr;
      return node != nullptr ? node->scalar(round) : std::nullopt;
    }
    case Part::Kind::form:
      return body.form_field(part.text);
    case Part::Kind::query:
      return first_named(parse_pairs(call.url->query), part.text);
    case Part::Kind::path:
      return first_named(captures, part.text);
  }
  return std::nullopt;
}

IdentityError missing(const Part& part) {
  const auto* source = std::find_if(sources.begin(), sources.end(),
                                    [&](const auto& s) { return s.kind == part.kind; });
  return {"key-missing",
          "The route's key needs `" + std::string(source->name) + ":" + part.text +
              "`, which this call does not have; nothing was sent. Add it, or send a Ledger-Key."};
}

tl::expected<std::string, IdentityError> fill(const KeyTemplate& key, const Call& call,
                                              const IdentityRules& rules, const Body& body,
                                              const Captures& captures) {
  std::string text;
  for (const auto& part : key.parts) {
    const auto value = value_of(part, call, !rules.exact_floats, body, captures);
    if (!value || value->empty()) return tl::unexpected(missing(part));
    text += *value;
  }
  return text;
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

// "${source:name}" without its brackets.
tl::expected<Part, std::string> parse_part(std::string_view text) {
  const auto colon = text.find(':');
  const auto* source = std::find_if(sources.begin(), sources.end(),
                                    [&](const auto& s) { return s.name == text.substr(0, colon); });
  if (colon == text.npos || source == sources.end() || colon + 1 == text.size())
    return tl::unexpected("`${" + std::string(text) +
                          "}` names nothing: write ${header:X}, ${body:/pointer}, ${form:name}, "
                          "${query:name} or ${path:name}");
  const auto name = text.substr(colon + 1);
  if (source->kind == Part::Kind::body && (name.front() != '/' || !pointer_tokens(name)))
    return tl::unexpected("`" + std::string(name) + "` is not a JSON pointer: it starts with /");
  return Part{source->kind, std::string(name)};
}

tl::expected<KeyTemplate, std::string> parse_template(std::string_view text) {
  KeyTemplate out;
  while (!text.empty()) {
    const auto open = text.find("${");
    const auto literal = text.substr(0, open);
    if (!literal.empty()) out.parts.push_back({Part::Kind::literal, std::string(literal)});
    if (open == text.npos) break;
    const auto close = text.find('}', open);
    if (close == text.npos) return tl::unexpected<std::string>("`${` without its `}`");
    auto part = parse_part(text.substr(open + 2, close - open - 2));
    if (!part) return tl::unexpected(part.error());
    out.parts.push_back(std::move(*part));
    text.remove_prefix(close + 1);
  }
  return out;
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
  auto parsed = parse_template(text);
  if (!parsed) return parsed;
  const bool varies = std::any_of(parsed->parts.begin(), parsed->parts.end(),
                                  [](const auto& p) { return p.kind != Part::Kind::literal; });
  if (!varies)
    return tl::unexpected<std::string>(
        "a key without any ${...} would make all calls of the route the same");
  return parsed;
}

tl::expected<KeyTemplate, std::string> parse_label_template(std::string_view text) {
  return parse_template(text);
}

namespace {

// Who takes a longer URL is not known (RFC 9110 section 4.1 asks for 8000 octets).
constexpr std::size_t url_max = 8000;

// More than anybody's reference needs. What is encoded more often is not read to its end: each
// decoding may take two characters off, and so their number must not be the sender's choice.
constexpr int decodings_max = 4;

bool has_dot_segment(std::string_view path) {
  for (;;) {
    const auto end = path.find_first_of("/\\");
    const auto whole = path.substr(0, end);
    const auto segment = whole.substr(0, whole.find(';'));
    if (segment == "." || segment == "..") return true;
    if (end == path.npos) return false;
    path.remove_prefix(end + 1);
  }
}

// Could a server find a dot segment, spelled in whatever way, where the template has none? It would
// climb the path that it stands in.
bool may_climb(std::string_view path) {
  std::string text(path.substr(0, path.find_first_of("?#")));
  for (int i = 0; i <= decodings_max; ++i) {
    if (has_dot_segment(text)) return true;
    auto decoded = percent_decode(text, false);
    if (decoded == text) return false;
    text = std::move(decoded);
  }
  return true;
}

}  // namespace

std::optional<std::string> fill_url_template(const KeyTemplate& url, const Call& call,
                                             const IdentityRules& rules, const Captures& captures) {
  const Body body(call);
  std::string text;
  for (const auto& part : url.parts) {
    const auto value = value_of(part, call, !rules.exact_floats, body, captures);
    if (!value || value->empty()) return std::nullopt;
    text += part.kind == Part::Kind::literal ? *value : percent_encode(*value);
    if (text.size() > url_max) return std::nullopt;
  }
  if (may_climb(text)) return std::nullopt;
  return text;
}

std::string fill_label(const KeyTemplate& label, const Call& call, const Body& body,
                       const Captures& captures) {
  std::string text;
  for (const auto& part : label.parts) {
    if (text.size() > label_max) break;
    const auto value = value_of(part, call, false, body, captures);
    text += value && !value->empty() ? std::string_view(*value).substr(0, label_max + 1) : "-";
  }
  return shown_text(text, label_max);
}

tl::expected<std::optional<std::string_view>, IdentityError> sole_header(const Call& call,
                                                                         std::string_view name) {
  const auto given = find_header(call, name);
  for (const auto& header : call.headers)
    if (same_text(header.name, name) && header.value != *given)
      return tl::unexpected(IdentityError{
          "bad-request",
          "The call has two headers " + std::string(name) + " that differ; send one."});
  return given;
}

tl::expected<ChosenKey, IdentityError> choose_key(const Call& call, const IdentityRules& rules,
                                                  const Body& body, const Captures& captures) {
  const auto own = sole_header(call, "Ledger-Key");
  if (!own) return tl::unexpected(own.error());
  if (const auto& given = *own) {
    if (given->empty())
      return tl::unexpected(IdentityError{
          "bad-request", "The header Ledger-Key is empty; give it a value or leave it out."});
    return ChosenKey{KeySource::header, std::string(*given)};
  }
  if (rules.key) {
    auto text = fill(*rules.key, call, rules, body, captures);
    if (!text) return tl::unexpected(text.error());
    return ChosenKey{KeySource::route, std::move(*text)};
  }
  const auto given = find_header(call, "Idempotency-Key").value_or("");
  const bool counts =
      !given.empty() &&
      (rules.idempotency_key == IdempotencyKeyMode::honour ||
       (rules.idempotency_key == IdempotencyKeyMode::automatic && !is_generated_key(given)));
  if (counts) return ChosenKey{KeySource::idempotency_key, std::string(given)};
  return ChosenKey{};
}

}  // namespace ledger
