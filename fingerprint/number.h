// JSON numbers as exact decimals: digits and an exponent, never a double, never expanded.
#pragma once

#include <string>
#include <string_view>

namespace ledger {

// All of these take the text of a number that is valid by RFC 8259.

// Whether the number has a canonical text: one whose exponent has at most nine digits (judged
// unrounded, so that equal numbers agree on it however they are written). Zero always has.
bool is_canonical_number(std::string_view text);

// Appends the canonical text, `[-]DIGITSeEXPONENT` where DIGITS neither begins nor ends with 0
// ("49e0" for 49, 49.0 and 4.9e1; "0" for every zero). With `round`, a fraction is first rounded
// half-even to 8 digits after the point, or for |x| < 1 to 8 digits after its leading zeros.
// The number must be canonical.
void append_number(std::string& out, std::string_view text, bool round);

// For people and key templates: the same number without an exponent ("42", "-0.05"), unless that
// takes more than 18 zeros.
std::string plain_number(std::string_view text, bool round);

}  // namespace ledger
