// Small ASCII text helpers.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace ledger {

inline char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

inline std::string lower_text(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower_char);
  return out;
}

inline std::string upper_text(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return out;
}

// Equal without case.
inline bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return lower_char(x) == lower_char(y);
         });
}

// The order of the lower-case texts, byte by byte.
inline bool less_text(std::string_view a, std::string_view b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return static_cast<unsigned char>(lower_char(x)) < static_cast<unsigned char>(lower_char(y));
  });
}

// Whether `text` contains `piece`, without case.
inline bool contains_text(std::string_view text, std::string_view piece) {
  return std::search(text.begin(), text.end(), piece.begin(), piece.end(),
                     [](char x, char y) { return lower_char(x) == lower_char(y); }) != text.end();
}

inline bool ends_with_text(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && same_text(text.substr(text.size() - end.size()), end);
}

inline std::string_view trim_text(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// `text` as a record shows it: one line without control characters, cut to `max` bytes between two
// characters of UTF-8, and then ending in an ellipsis.
inline std::string shown_text(std::string_view text, std::size_t max) {
  constexpr std::string_view ellipsis = "\u2026";
  const bool cut = text.size() > max;
  if (cut) {
    auto end = max - ellipsis.size();
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  std::string out(text);
  const auto hidden = [](unsigned char c) { return c < ' ' || c == 0x7f; };
  std::replace_if(out.begin(), out.end(), hidden, ' ');
  if (cut) out += ellipsis;
  return out;
}

inline int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 3986 section 2.3.
inline bool is_unreserved(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// "%" and two upper-case hex digits.
inline void append_octet(std::string& out, unsigned char byte) {
  static constexpr char digits[] = "0123456789ABCDEF";
  ((out += '%') += digits[byte >> 4]) += digits[byte & 15];
}

// Percent-encodes all but the unreserved characters.
inline void append_encoded(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (is_unreserved(static_cast<unsigned char>(c)))
      out += c;
    else
      append_octet(out, static_cast<unsigned char>(c));
  }
}

}  // namespace ledger
