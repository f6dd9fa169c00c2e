// What the subcommands share to write for people: clean text, columns, colours, times and sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/record.h"

namespace ledger::cli {

// Text that came from a request, made harmless: control characters, bidirectional overrides and
// bytes that are not UTF-8 become visible escapes (`\n`, `\x1b`, `\u202e`).
std::string clean(std::string_view text);

// Columns that clean text takes on a terminal.
std::size_t width(std::string_view text);

// At most `columns` wide: what is too long loses its middle to an ellipsis.
std::string shorten(std::string_view text, std::size_t columns);

enum class Style : std::uint8_t { plain, dim, bold, good, warn, bad };
std::string styled(std::string_view text, Style style, bool colour);

// Does `fd` show colours? A terminal that is not dumb, and NO_COLOR not set.
bool shows_colour(int fd);
bool is_terminal(int fd);

struct Cell {
  std::string text;
  Style style = Style::plain;
  bool right = false;  // numbers stand under each other
};
using Row = std::vector<Cell>;

// Rows under each other, three spaces between columns.
class Columns {
 public:
  void fit(const Row& row);
  // Padded to what was fitted; no spaces at the end.
  std::string line(const Row& row, bool colour) const;

 private:
  std::vector<std::size_t> widths_;
};
void print(const std::vector<Row>& rows, bool colour);

// "850ms", "12s", "2m", "3h", "5d": the largest unit, rounded down.
std::string lasting(std::chrono::milliseconds duration);
// "2m ago", "in 23h", "now".
std::string relative(Instant then, Instant now);
// "512 B", "1.5 KiB".
std::string sized(std::size_t bytes);
// "1 route", "3 routes".
std::string counted(std::size_t n, std::string_view noun);

}  // namespace ledger::cli
