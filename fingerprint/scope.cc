#include "fingerprint/scope.h"

#include <algorithm>

#include "fingerprint/text.h"

namespace ledger {
namespace {

// Of AWS SigV4 ("AWS4-HMAC-SHA256 Credential=AKID/20260101/…, Signature=…") only the access key id:
// the signature changes with every call.
std::string_view credential_value(const HeaderView& header) {
  constexpr std::string_view marker = "Credential=";
  const auto value = header.value;
  if (!same_text(header.name, "Authorization") || !value.starts_with("AWS4-")) return value;
  const auto at = value.find(marker);
  if (at == value.npos) return value;
  const auto id = value.substr(at + marker.size());
  return id.substr(0, id.find_first_of("/, "));
}

// Every credential header; a cookie only where there is none, since cookies hold much else.
std::vector<const HeaderView*> credentials(const Call& call, const IdentityRules& rules) {
  std::vector<const HeaderView*> found;
  for (const auto& header : call.headers)
    if (is_credential(header.name, rules)) found.push_back(&header);
  if (found.empty())
    for (const auto& header : call.headers)
      if (same_text(header.name, "Cookie")) found.push_back(&header);
  std::stable_sort(found.begin(), found.end(),
                   [](const auto* a, const auto* b) { return less_text(a->name, b->name); });
  return found;
}

// An HMAC, so that the store never holds what a credential could be guessed from.
std::string credential_digest(const Call& call, const IdentityRules& rules,
                              std::string_view secret) {
  const auto found = credentials(call, rules);
  if (found.empty()) return "";
  std::string data;
  const auto append = [&](std::string_view field) {
    ((data += std::to_string(field.size())) += ':') += field;
  };
  for (const auto* header : found) {
    append(lower_text(header->name));
    append(credential_value(*header));
  }
  return to_hex(hmac_sha256(secret, data));
}

}  // namespace

bool is_credential(std::string_view name, const IdentityRules& rules) {
  return same_text(name, "Authorization") || same_text(name, "X-Auth-Token") ||
         same_text(name, "Private-Token") || contains_text(name, "api-key") ||
         contains_text(name, "access-token") ||
         std::any_of(rules.credential_headers.begin(), rules.credential_headers.end(),
                     [&](const auto& configured) { return same_text(configured, name); });
}

Scope::Scope(const Call& call, const IdentityRules& rules, std::string_view secret)
    : agent_(call.agent), run_(call.run) {
  for (const auto part : rules.scope)
    (part == ScopePart::agent        ? has_agent_
     : part == ScopePart::credential ? has_credential_
                                     : has_run_) = true;
  if (has_credential_) credential_ = credential_digest(call, rules, secret);
}

void Scope::add_to(FieldHash& hash) const {
  hash.add(std::to_string(int{has_agent_} + int{has_credential_} + int{has_run_}));
  if (has_agent_) hash.add("agent").add(agent_);
  if (has_credential_) hash.add("credential").add(credential_);
  if (has_run_) hash.add("run").add(run_);
}

// FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/
std::uint64_t Scope::name() const {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](bool has, char what, std::string_view value) {
    if (!has) return;
    hash = (hash ^ static_cast<unsigned char>(what)) * 0x100000001b3;
    for (const unsigned char c : value) hash = (hash ^ c) * 0x100000001b3;
  };
  add(has_agent_, '\x01', agent_);
  add(has_credential_, '\x02', credential_);
  add(has_run_, '\x03', run_);
  return hash;
}

}  // namespace ledger
