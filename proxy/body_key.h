// The upstream key in a request's body, for upstreams that deduplicate by a field (Square's
// `idempotency_key`).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proxy/message.h"

namespace ledger {

// Is `upstream_key` such a place ("body:/name" or "form:name"), not a header?
bool is_in_body(std::string_view upstream_key);

// `body` with `key` at `place`, in the stead of what stood there; every other byte stays. nullopt:
// it is no JSON object (or has the member twice), or is compressed.
std::optional<std::string> with_body_key(std::string_view place, const Head& head,
                                         const std::string& body, std::string_view key);

}  // namespace ledger
