#include "cli/terminal.h"

#include <locale.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace ledger::cli {
namespace {

struct Character {
  std::string_view bytes;
  char32_t code = 0;
  bool valid = false;  // else one byte that begins no UTF-8 character
};

// Takes the first character off `text`, which is not empty. Strict: no overlong forms, no
// surrogates, nothing past U+10FFFF.
Character take(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto first = byte(0);
  const std::size_t length = first < 0x80             ? 1
                             : (first & 0xe0) == 0xc0 ? 2
                             : (first & 0xf0) == 0xe0 ? 3
                             : (first & 0xf8) == 0xf0 ? 4
                                                      : 0;
  static constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  char32_t code = length == 1 ? first : first & (0xffU >> (length + 1));
  bool valid = length > 0 && length <= text.size();
  for (std::size_t i = 1; valid && i < length; ++i) {
    valid = (byte(i) & 0xc0) == 0x80;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  valid = valid && code >= least[length] && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  const Character c{text.substr(0, valid ? length : 1), valid ? code : first, valid};
  text.remove_prefix(c.bytes.size());
  return c;
}

// Characters that would move the cursor, hide text or turn its direction.
bool is_hidden(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0x61c;
}

std::string escape(const Character& c) {
  if (c.code == '\n') return "\\n";
  if (c.code == '\r') return "\\r";
  if (c.code == '\t') return "\\t";
  std::array<char, 12> text{};
  std::snprintf(text.data(), text.size(), c.code < 0x80 || !c.valid ? "\\x%02x" : "\\u%04x",
                static_cast<unsigned>(c.code));
  return text.data();
}

// wcwidth() asks the thread's locale; the user's may not be UTF-8, and our output is.
std::size_t columns_of(char32_t code) {
  if (code < 0x80) return 1;
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int n = wcwidth(static_cast<wchar_t>(code));
  uselocale(before);
  return n < 0 ? 1 : static_cast<std::size_t>(n);
}

}  // namespace

std::string clean(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto c = take(text);
    if (c.valid && !is_hidden(c.code))
      out += c.bytes;
    else
      out += escape(c);
  }
  return out;
}

std::size_t width(std::string_view text) {
  std::size_t n = 0;
  while (!text.empty()) n += columns_of(take(text).code);
  return n;
}

std::string shorten(std::string_view text, std::size_t columns) {
  auto left = width(text);
  if (left <= columns) return std::string(text);
  if (columns == 0) return "";
  const auto head_columns = columns / 2;
  const auto tail_columns = columns - head_columns - 1;
  std::string head;
  auto rest = text;
  for (std::size_t used = 0; !rest.empty();) {
    const auto c = take(rest);
    used += columns_of(c.code);
    if (used > head_columns) break;
    head += c.bytes;
  }
  // The tail: drop characters until what is left fits; combining marks go with what they stand on.
  auto tail = text;
  while (!tail.empty() && left > tail_columns) left -= columns_of(take(tail).code);
  for (auto next = tail; !next.empty() && columns_of(take(next).code) == 0;) tail = next;
  return head + "…" + std::string(tail);
}

std::string styled(std::string_view text, Style style, bool colour) {
  static constexpr std::array<const char*, 6> codes{"", "2", "1", "32", "33", "31"};
  if (!colour || style == Style::plain || text.empty()) return std::string(text);
  return "\x1b[" + std::string(codes[static_cast<std::size_t>(style)]) + "m" + std::string(text) +
         "\x1b[0m";
}

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool shows_colour(int fd) {
  const auto* no_color = std::getenv("NO_COLOR");
  const auto* term = std::getenv("TERM");
  return is_terminal(fd) && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

void Columns::fit(const Row& row) {
  if (widths_.size() < row.size()) widths_.resize(row.size());
  for (std::size_t i = 0; i < row.size(); ++i)
    widths_[i] = std::max(widths_[i], width(row[i].text));
}

std::string Columns::line(const Row& row, bool colour) const {
  std::string out;
  std::size_t owed = 0;  // spaces, written only when something follows
  for (std::size_t i = 0; i < row.size(); ++i) {
    const auto& cell = row[i];
    const auto taken = width(cell.text);
    const auto column = i < widths_.size() ? std::max(widths_[i], taken) : taken;
    const auto pad = column - taken;
    if (!cell.text.empty()) {
      out.append(owed + (cell.right ? pad : 0), ' ');
      out += styled(cell.text, cell.style, colour);
      owed = cell.right ? 3 : pad + 3;
    } else {
      owed += pad + 3;
    }
  }
  return out;
}

void print(const std::vector<Row>& rows, bool colour) {
  Columns columns;
  for (const auto& row : rows) columns.fit(row);
  for (const auto& row : rows) std::cout << columns.line(row, colour) << '\n';
}

std::string lasting(std::chrono::milliseconds duration) {
  const auto ms = duration.count();
  if (ms < 1000) return std::to_string(ms) + "ms";
  if (ms < 60'000) return std::to_string(ms / 1000) + "s";
  if (ms < 3'600'000) return std::to_string(ms / 60'000) + "m";
  if (ms < 48 * 3'600'000LL) return std::to_string(ms / 3'600'000) + "h";
  return std::to_string(ms / 86'400'000) + "d";
}

std::string relative(Instant then, Instant now) {
  const auto past = now - then;
  if (past > std::chrono::seconds(-1) && past < std::chrono::seconds(1)) return "now";
  return past.count() > 0 ? lasting(past) + " ago" : "in " + lasting(-past);
}

std::string sized(std::size_t bytes) {
  static constexpr std::array<const char*, 4> units{"B", "KiB", "MiB", "GiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, units[unit]);
  return text.data();
}

std::string counted(std::size_t n, std::string_view noun) {
  return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

}  // namespace ledger::cli
