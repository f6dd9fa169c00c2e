// The key that a call was given, if any. Internal to fingerprint/identity.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "fingerprint/body.h"
#include "fingerprint/identity.h"

namespace ledger {

struct ChosenKey {
  KeySource source = KeySource::fingerprint;
  std::string text;  // empty where the fingerprint is the key
};

// A header that a caller gives Ledger. Error: it is there twice, and differs: which one is meant is
// not ours to guess.
tl::expected<std::optional<std::string_view>, IdentityError> sole_header(const Call& call,
                                                                         std::string_view name);

// The first that there is: Ledger-Key, the route's template, an Idempotency-Key that counts, the
// fingerprint.
tl::expected<ChosenKey, IdentityError> choose_key(const Call& call, const IdentityRules& rules,
                                                  const Body& body, const Captures& captures);

// The label as it reads for this call, fit to be shown.
std::string fill_label(const KeyTemplate& label, const Call& call, const Body& body,
                       const Captures& captures);

}  // namespace ledger
