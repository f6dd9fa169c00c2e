// multipart/form-data (RFC 7578), whose syntax is RFC 2046 section 5.1.
#include <algorithm>
#include <utility>

#include "fingerprint/body.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

constexpr std::size_t boundary_max = 70;  // RFC 2046 section 5.1.1

// A token, or a quoted string without its quotes, off the front of `rest`.
std::string take_value(std::string_view& rest) {
  if (rest.empty() || rest.front() != '"') {
    const auto token = rest.substr(0, rest.find(';'));
    rest.remove_prefix(token.size());
    return std::string(trim_text(token));
  }
  std::string value;
  std::size_t i = 1;
  for (; i < rest.size() && rest[i] != '"'; ++i) {
    // Browsers send the backslashes of a Windows path as they are, so only these two are escapes.
    const bool escape =
        rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\');
    if (escape) ++i;
    value += rest[i];
  }
  rest.remove_prefix(std::min(rest.size(), i + 1));
  rest.remove_prefix(std::min(rest.size(), rest.find(';')));
  return value;
}

// A parameter of a header such as Content-Disposition (RFC 9110 section 5.6.6); the first of it.
std::optional<std::string> parameter(std::string_view text, std::string_view wanted) {
  auto rest = text.substr(std::min(text.size(), text.find(';')));
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const auto name = rest.substr(0, rest.find_first_of(";="));
    rest.remove_prefix(name.size());
    if (rest.empty() || rest.front() == ';') continue;  // no value
    rest.remove_prefix(1);
    rest = trim_text(rest);
    auto value = take_value(rest);
    if (same_text(trim_text(name), wanted)) return value;
  }
  return std::nullopt;
}

// A field's name is one word. A folded line (RFC 5322 section 2.2.3) begins with white space, and
// so has none: its bytes may mean anything to the upstream.
bool is_field_name(std::string_view name) {
  return !name.empty() && name.find_first_of(" \t\"") == name.npos;
}

bool is_blank(std::string_view line) { return trim_text(line).empty(); }

// The lines of a part's head, each ended by CRLF. False: a line that is no header field, or a
// second one of those that are identity, of which another reader may take the other.
bool read_head(std::string_view head, MultipartPart& part) {
  bool typed = false, disposed = false;
  while (!head.empty()) {
    const auto line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(std::min(head.size(), line.size() + 2));
    const auto colon = line.find(':');
    // Some readers take a bare CR or LF for a line's end, and would see one field more.
    if (line.find_first_of("\r\n") != line.npos) return false;
    if (colon == line.npos || !is_field_name(line.substr(0, colon))) return false;
    const auto name = line.substr(0, colon), value = trim_text(line.substr(colon + 1));
    if (same_text(name, "Content-Type")) {
      if (std::exchange(typed, true)) return false;
      part.type = value;
    }
    if (!same_text(name, "Content-Disposition")) continue;
    if (std::exchange(disposed, true)) return false;
    part.name = parameter(value, "name").value_or("");
    // Where both are there, the extended one is meant (RFC 6266 section 4.3).
    part.filename = parameter(value, "filename*");
    if (!part.filename) part.filename = parameter(value, "filename");
  }
  return true;
}

// What lies between two delimiters: the end of the delimiter's line, header fields, and then, where
// there is any content, an empty line and the content.
bool read_part(std::string_view text, MultipartPart& part) {
  const auto line_end = text.find("\r\n");
  if (line_end == text.npos || !is_blank(text.substr(0, line_end))) return false;
  text.remove_prefix(line_end);
  // Sought from the line's own CRLF on, since a part may have no header fields.
  const auto blank = text.find("\r\n\r\n");
  if (blank == text.npos) return text.ends_with("\r\n") && read_head(text.substr(2), part);
  part.content = text.substr(blank + 4);
  return blank == 0 || read_head(text.substr(2, blank), part);
}

}  // namespace

std::optional<std::vector<MultipartPart>> parse_multipart(std::string_view content_type,
                                                          std::string_view body) {
  const auto boundary = parameter(content_type, "boundary");
  // One that is longer is none to many readers, and seeking it costs body times boundary.
  if (!boundary || boundary->empty() || boundary->size() > boundary_max) return std::nullopt;
  const auto delimiter = "\r\n--" + *boundary;
  const auto first = std::string_view(delimiter).substr(2);

  // What precedes the first delimiter is a preamble, which means nothing, unless it holds what a
  // reader that takes a bare LF for a line's end would call a delimiter.
  const auto start = body.find(first);
  if (start == body.npos || (start > 0 && !body.substr(0, start).ends_with("\r\n")))
    return std::nullopt;
  auto rest = body.substr(start + first.size());

  std::vector<MultipartPart> parts;
  // `rest` begins right behind a delimiter; behind the closing one nothing has a meaning.
  while (!rest.starts_with("--")) {
    const auto end = rest.find(delimiter);
    if (end == rest.npos || !read_part(rest.substr(0, end), parts.emplace_back()))
      return std::nullopt;
    rest.remove_prefix(end + delimiter.size());
  }
  // A line that goes on is no delimiter: others would read the body further than we did.
  rest.remove_prefix(2);
  if (!is_blank(rest.substr(0, rest.find("\r\n")))) return std::nullopt;
  return parts;
}

}  // namespace ledger
