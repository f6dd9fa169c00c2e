#include "fingerprint/identity.h"

#include <algorithm>
#include <charconv>

#include "fingerprint/body.h"
#include "fingerprint/key.h"
#include "fingerprint/scope.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// Headers that choose the operation or the account.
constexpr std::string_view identity_headers[] = {
    "openai-organization", "openai-project",         "soapaction",       "stripe-account",
    "stripe-context",      "x-account-id",           "x-amz-target",     "x-http-method",
    "x-tenant-id",         "x-http-method-override", "x-method-override"};

constexpr std::uint32_t occurrence_max = 1'000'000;

bool is_part_of_the_call(std::string_view name, const IdentityRules& rules) {
  const auto same = [&](std::string_view other) { return same_text(other, name); };
  return std::any_of(std::begin(identity_headers), std::end(identity_headers), same) ||
         std::any_of(rules.headers.begin(), rules.headers.end(), same);
}

// The number of headers that are part of the call, then each one's lower-case name and value,
// sorted by name; those of one name in the order received.
void add_headers(FieldHash& hash, const Call& call, const IdentityRules& rules) {
  std::vector<const HeaderView*> found;
  for (const auto& header : call.headers)
    if (is_part_of_the_call(header.name, rules)) found.push_back(&header);
  std::stable_sort(found.begin(), found.end(),
                   [](const auto* a, const auto* b) { return less_text(a->name, b->name); });
  hash.add(std::to_string(found.size()));
  for (const auto* header : found) hash.add(lower_text(header->name)).add(header->value);
}

void add_target(FieldHash& hash, const Call& call) {
  const auto& url = *call.url;
  hash.add(call.method).add(url.scheme).add(url.host).add(url.port).add(url.path);
}

Digest fingerprint_of(FieldHash& hash, const Call& call, const IdentityRules& rules,
                      const Body& body, const Scope& scope) {
  std::string storage;
  hash.add("v1");
  add_target(hash, call);
  hash.add(canonical_pairs(parse_pairs(call.url->query), rules, IgnoreRule::Where::query));
  hash.add(body.kind()).add(body.canonical(rules, storage));
  add_headers(hash, call, rules);
  scope.add_to(hash);
  return hash.finish();
}

// Names the record.
Digest id_of(FieldHash& hash, const Call& call, std::string_view route, const Scope& scope,
             const Identity& identity, std::string_view occurrence) {
  hash.add("id-v1");
  if (!identity.explicit_key())
    return hash.add("fingerprint").add(identity.fingerprint).add(occurrence).finish();
  hash.add("explicit");
  if (route.empty()) {
    hash.add("call");
    add_target(hash, call);
  } else {
    hash.add("route").add(route);
  }
  scope.add_to(hash);
  return hash.add(identity.key).add(occurrence).finish();
}

tl::expected<std::string, IdentityError> occurrence_of(const Call& call) {
  const auto sole = sole_header(call, "Ledger-Occurrence");
  if (!sole) return tl::unexpected(sole.error());
  const auto& given = *sole;
  if (!given) return "1";
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), n);
  if (error != std::errc() || end != given->data() + given->size() || n == 0 || n > occurrence_max)
    return tl::unexpected(
        IdentityError{"bad-request", "Ledger-Occurrence is `" + std::string(given->substr(0, 40)) +
                                         "`, which is not a whole number from 1 to 1000000."});
  return std::to_string(n);
}

}  // namespace

tl::expected<Identity, IdentityError> identify(const Call& call, const IdentityRules& rules,
                                               std::string_view route, const Captures& captures,
                                               std::string_view secret) {
  const auto occurrence = occurrence_of(call);
  if (!occurrence) return tl::unexpected(occurrence.error());
  const Body body(call);
  auto key = choose_key(call, rules, body, captures);
  if (!key) return tl::unexpected(key.error());

  const Scope scope(call, rules, secret);
  FieldHash hash;
  Identity identity;
  identity.fingerprint = fingerprint_of(hash, call, rules, body, scope);
  identity.source = key->source;
  identity.key = std::move(key->text);
  identity.id = id_of(hash, call, route, scope, identity, *occurrence);
  identity.scope = scope.name();
  if (rules.label) identity.label = fill_label(*rules.label, call, body, captures);
  return identity;
}

std::optional<Digest> pasted_id(const Identity& identity) {
  if (identity.source != KeySource::header) return std::nullopt;
  return from_hex(identity.key);
}

CanonicalBody canonical_body(const Call& call, const IdentityRules& rules) {
  const Body body(call);
  std::string storage;
  const auto bytes = body.canonical(rules, storage);
  return {body.kind(), std::string(bytes)};
}

}  // namespace ledger
