// Whose call it is: the scope of a key. Internal to fingerprint/identity.h.
#pragma once

#include <string>
#include <string_view>

#include "fingerprint/digest.h"
#include "fingerprint/identity.h"

namespace ledger {

// The parts of the scope that the rules name. Views the call.
class Scope {
 public:
  Scope(const Call& call, const IdentityRules& rules, std::string_view secret);

  // Adds the number of parts, then each one's name and value, sorted by name.
  void add_to(FieldHash& hash) const;

  // Eight bytes that are equal for equal scopes, to tell whose record one is. No digest: a caller
  // who wants to be taken for somebody else here gains a 400.
  std::uint64_t name() const;

 private:
  bool has_agent_ = false, has_credential_ = false, has_run_ = false;
  std::string_view agent_, run_;
  std::string credential_;  // hex; empty where the call carries no credential
};

}  // namespace ledger
