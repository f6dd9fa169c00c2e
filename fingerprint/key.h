// The key that a call was given, if any. Internal to fingerprint/identity.h.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "fingerprint/body.h"
#include "fingerprint/identity.h"

namespace ledger {

struct ChosenKey {
  KeySource source = KeySource::fingerprint;
  std::string text;  // empty where the fingerprint is the key
};

// The first that there is: Ledger-Key, the route's template, an Idempotency-Key that counts, the
// fingerprint.
tl::expected<ChosenKey, IdentityError> choose_key(const Call& call, const IdentityRules& rules,
                                                  const Body& body, const Captures& captures);

// The label as it reads for this call, fit to be shown.
std::string fill_label(const KeyTemplate& label, const Call& call, const Body& body,
                       const Captures& captures);

}  // namespace ledger
