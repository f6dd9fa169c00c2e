// Characters of HTTP messages (RFC 9110 section 5.6), and small helpers on text.
#pragma once

#include <string_view>

namespace ledger {

// token = 1*tchar
constexpr bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// What a field's value may hold: HTAB, SP, VCHAR and obs-text.
constexpr bool is_value_char(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u == '\t' || (u >= 0x20 && u != 0x7f);
}

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Without the optional white space (SP, HTAB) around it.
constexpr std::string_view trim_ows(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Calls `take(item)` for each item of a comma-separated list that is not empty (RFC 9110 section
// 5.6.1).
template <class Take>
void each_item(std::string_view list, Take take) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto item = trim_ows(list.substr(0, comma));
    if (!item.empty()) take(item);
    if (comma == list.npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace ledger
