// A strict JSON reader (RFC 8259) that keeps numbers as their decimal digits, and the canonical
// text that identity hashes: RFC 8785's ordering and strings, exact decimals instead of doubles.
//
// Why our own: the readers at hand send numbers through a double or refuse 1e400, and identity must
// not. It serves identity alone; admin bodies and settings are read by libraries.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace ledger {

// An RFC 6901 pointer in which a bare `*` matches any one member or element.
struct JsonPattern {
  std::vector<std::string> tokens;  // unescaped
  std::vector<bool> any;            // the token was a bare `*`
};

class JsonDocument {
 public:
  static constexpr int depth_max = 128;

  // Not canonical (the error says why): malformed text, a byte order mark, invalid UTF-8, a lone
  // surrogate, a repeated key in one object, nesting deeper than `depth_max`, an exponent of more
  // than nine digits. `text` must outlive the document.
  static tl::expected<JsonDocument, std::string> parse(std::string_view text);

  // No white space, objects sorted by UTF-16 code units (RFC 8785 section 3.2.3), strings with the
  // fewest escapes (3.2.2.2), numbers as fingerprint/number.h says (`round`). What one of `ignored`
  // matches is left out.
  std::string canonical(bool round, const std::vector<const JsonPattern*>& ignored) const;

  // The scalar that an RFC 6901 pointer names, as text: a string's own characters, a number
  // unrounded (42 for 42.0; beyond 18 final zeros or with a fraction its canonical text), "true" or
  // "false". nullopt where nothing is there, or null, an object or an array.
  std::optional<std::string> scalar_at(std::string_view pointer) const;
  bool has(std::string_view pointer) const { return at(pointer) != nullptr; }
  bool is_array() const;

  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  struct Node;   // json.cc
  struct Parts;  // the tree and the strings it owns

 private:
  explicit JsonDocument(std::unique_ptr<Parts> parts);
  const Node* at(std::string_view pointer) const;
  std::unique_ptr<Parts> parts_;
};

// The reference tokens of an RFC 6901 pointer, unescaped. nullopt unless it is "" or starts with
// "/".
std::optional<std::vector<std::string>> pointer_tokens(std::string_view pointer);

}  // namespace ledger
