#include "fingerprint/number.h"

#include <cstdint>

namespace ledger {
namespace {

constexpr std::size_t exponent_digits_max = 9;
constexpr std::int64_t fraction_digits = 8;

// digits x 10^exponent.
struct Decimal {
  std::string digits;
  std::int64_t exponent = 0;

  void strip() {
    const auto last = digits.find_last_not_of('0');
    if (last == std::string::npos) {
      digits.clear();
      return;
    }
    exponent += static_cast<std::int64_t>(digits.size() - last - 1);
    digits.erase(last + 1);
    digits.erase(0, digits.find_first_not_of('0'));
  }
};

void increment(std::string& digits) {
  for (auto i = digits.size(); i-- > 0;) {
    if (digits[i] != '9') {
      ++digits[i];
      return;
    }
    digits[i] = '0';
  }
  digits.insert(digits.begin(), '1');
}

// Drops the last `count` digits, half-even.
void drop(Decimal& d, std::size_t count) {
  const auto kept = d.digits.size() - count;
  const char first = d.digits[kept];
  const bool rest = d.digits.find_first_not_of('0', kept + 1) != std::string::npos;
  const bool odd = kept > 0 && (d.digits[kept - 1] - '0') % 2 != 0;
  const bool up = first > '5' || (first == '5' && (rest || odd));
  d.digits.erase(kept);
  d.exponent += static_cast<std::int64_t>(count);
  if (up) increment(d.digits);
}

void round_fraction(Decimal& d) {
  if (d.exponent >= 0) return;
  const auto size = static_cast<std::int64_t>(d.digits.size());
  const auto before_point = size + d.exponent;  // <= 0: |x| < 1, with so many leading zeros
  const auto keep = before_point > 0 ? before_point + fraction_digits : fraction_digits;
  if (keep < size) drop(d, static_cast<std::size_t>(size - keep));
}

}  // namespace

std::optional<std::string> canonical_number(std::string_view text, bool round) {
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  Decimal d;
  const auto e = text.find_first_of("eE");
  const auto mantissa = text.substr(0, e);
  const auto point = mantissa.find('.');
  d.digits = mantissa.substr(0, point);
  if (point != mantissa.npos) {
    d.digits += mantissa.substr(point + 1);
    d.exponent = -static_cast<std::int64_t>(mantissa.size() - point - 1);
  }
  if (e != text.npos) {
    auto exponent = text.substr(e + 1);
    const bool minus = exponent.front() == '-';
    if (minus || exponent.front() == '+') exponent.remove_prefix(1);
    exponent.remove_prefix(std::min(exponent.find_first_not_of('0'), exponent.size()));
    if (exponent.size() > exponent_digits_max) return std::nullopt;
    std::int64_t value = 0;
    for (const char c : exponent) value = value * 10 + (c - '0');
    d.exponent += minus ? -value : value;
  }
  d.strip();
  if (d.digits.empty()) return "0";
  if (round) {
    round_fraction(d);
    d.strip();
  }
  return (negative ? "-" : "") + d.digits + "e" + std::to_string(d.exponent);
}

}  // namespace ledger
