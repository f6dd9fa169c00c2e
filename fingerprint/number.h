// JSON numbers as exact decimals: digits and an exponent, never a double, never expanded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ledger {

// The canonical text of a number that is valid by RFC 8259: `-?DIGITS e EXPONENT` without leading
// or trailing zeros in DIGITS ("49e0" for 49, 49.0 and 4.9e1; "0" for every zero). With `round`, a
// fraction is rounded half-even to 8 digits after the point, or for |x| < 1 to 8 digits after its
// leading zeros. nullopt: an exponent of more than nine digits.
std::optional<std::string> canonical_number(std::string_view text, bool round);

}  // namespace ledger
