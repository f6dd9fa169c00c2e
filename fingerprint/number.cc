#include "fingerprint/number.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdint>

namespace ledger {
namespace {

constexpr std::int64_t exponent_max = 999'999'999;
// Beyond this no mantissa that fits into memory brings an exponent back below exponent_max.
constexpr std::int64_t exponent_saturated = 1'000'000'000'000'000;
constexpr std::int64_t fraction_digits = 8;
constexpr std::int64_t plain_zeros_max = 18;

// (-1)^negative x digits x 10^exponent. Zero has no digits; other digits neither begin nor end
// with 0, so that equal numbers are equal Decimals.
struct Decimal {
  bool negative = false;
  std::string digits;
  std::int64_t exponent = 0;

  void strip() {
    const auto last = digits.find_last_not_of('0');
    if (last == std::string::npos) {
      *this = {};
      return;
    }
    exponent += static_cast<std::int64_t>(digits.size() - last - 1);
    digits.erase(last + 1);
    digits.erase(0, digits.find_first_not_of('0'));
  }
};

std::int64_t read_exponent(std::string_view text) {
  const bool minus = text.front() == '-';
  if (minus || text.front() == '+') text.remove_prefix(1);
  std::int64_t value = 0;
  for (const char c : text) value = std::min(value * 10 + (c - '0'), exponent_saturated);
  return minus ? -value : value;
}

Decimal read(std::string_view text) {
  Decimal d;
  d.negative = text.front() == '-';
  if (d.negative) text.remove_prefix(1);
  const auto e = text.find_first_of("eE");
  const auto mantissa = text.substr(0, e);
  const auto point = mantissa.find('.');
  d.digits = mantissa.substr(0, point);
  if (point != mantissa.npos) {
    d.digits += mantissa.substr(point + 1);
    d.exponent = -static_cast<std::int64_t>(mantissa.size() - point - 1);
  }
  if (e != text.npos) d.exponent += read_exponent(text.substr(e + 1));
  d.strip();
  return d;
}

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
  d.digits.erase(kept);
  d.exponent += static_cast<std::int64_t>(count);
  if (first > '5' || (first == '5' && (rest || odd))) increment(d.digits);
}

void round_fraction(Decimal& d) {
  if (d.exponent >= 0) return;
  const auto size = static_cast<std::int64_t>(d.digits.size());
  const auto before_point = size + d.exponent;  // <= 0: |x| < 1, with so many leading zeros
  const auto keep = std::max<std::int64_t>(before_point, 0) + fraction_digits;
  if (keep >= size) return;
  drop(d, static_cast<std::size_t>(size - keep));
  d.strip();  // a carry leaves zeros: 0.999999999 is 1
}

Decimal read(std::string_view text, bool round) {
  auto d = read(text);
  assert(d.digits.empty() || std::abs(d.exponent) <= exponent_max);
  if (round) round_fraction(d);
  return d;
}

void append(std::string& out, const Decimal& d) {
  if (d.digits.empty()) {
    out += '0';
    return;
  }
  if (d.negative) out += '-';
  (out += d.digits) += 'e';
  char exponent[20];
  out.append(exponent, std::to_chars(exponent, exponent + sizeof exponent, d.exponent).ptr);
}

}  // namespace

bool is_canonical_number(std::string_view text) {
  // Without an exponent as written, the canonical one is bounded by the length of the text.
  if (text.size() < exponent_max && text.find_first_of("eE") == text.npos) return true;
  const auto d = read(text);
  return d.digits.empty() || std::abs(d.exponent) <= exponent_max;
}

void append_number(std::string& out, std::string_view text, bool round) {
  append(out, read(text, round));
}

std::string plain_number(std::string_view text, bool round) {
  const auto d = read(text, round);
  const auto size = static_cast<std::int64_t>(d.digits.size());
  const auto leading = std::max<std::int64_t>(-d.exponent - size + 1, 0);  // 0.05 has two
  std::string out;
  if (d.digits.empty() || d.exponent > plain_zeros_max || leading > plain_zeros_max) {
    append(out, d);
    return out;
  }
  if (d.negative) out += '-';
  out.append(static_cast<std::size_t>(leading), '0');
  out += d.digits;
  if (d.exponent >= 0)
    out.append(static_cast<std::size_t>(d.exponent), '0');
  else
    out.insert(out.size() - static_cast<std::size_t>(-d.exponent), 1, '.');
  return out;
}

}  // namespace ledger
