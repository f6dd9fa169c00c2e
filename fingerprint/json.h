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

// One value. All values of a document lie in one vector; a container chains its children.
struct JsonNode {
  enum class Kind : std::uint8_t {
    null,
    boolean_true,
    boolean_false,
    number,
    string,
    array,
    object
  };
  static constexpr std::uint32_t none = 0xFFFFFFFF;

  Kind kind = Kind::null;
  std::uint32_t first_child = none;  // index; an object's children are sorted by key
  std::uint32_t next = none;         // index of the next child of the same container
  std::string_view key;              // of a member: unescaped
  std::string_view text;             // number: as written; string: unescaped

  // A scalar as text: a string's own characters, a number as plain_number() of fingerprint/number.h
  // writes it, "true" or "false". nullopt for null, arrays and objects.
  std::optional<std::string> scalar(bool round) const;
};

class JsonDocument {
 public:
  static constexpr int depth_max = 128;

  // Not canonical (the error says why): malformed text, a byte order mark, invalid UTF-8, a lone
  // surrogate, a repeated key in one object, nesting deeper than `depth_max`, an exponent of more
  // than nine digits. `text` must outlive the document. Linear, but for the sorting of keys.
  static tl::expected<JsonDocument, std::string> parse(std::string_view text);

  // No white space, objects sorted by UTF-16 code units (RFC 8785 section 3.2.3), strings with the
  // fewest escapes (3.2.2.2), numbers as fingerprint/number.h says (`round`). What one of `ignored`
  // matches is left out.
  std::string canonical(bool round, std::vector<const JsonPattern*> ignored = {}) const;

  // Walking; all return null where there is nothing (more).
  const JsonNode* root() const { return nodes_.data(); }
  const JsonNode* first_child(const JsonNode& container) const;
  const JsonNode* next(const JsonNode& child) const;
  const JsonNode* member(const JsonNode& container, std::string_view key) const;
  // The value that an RFC 6901 pointer names.
  const JsonNode* at(std::string_view pointer) const;

 private:
  std::size_t text_size_ = 0;
  std::vector<JsonNode> nodes_;        // never empty; the root is the first
  std::unique_ptr<char[]> unescaped_;  // strings that had escapes; the others are views of the text
};

// The reference tokens of an RFC 6901 pointer, unescaped. nullopt unless it is "" or starts with
// "/".
std::optional<std::vector<std::string>> pointer_tokens(std::string_view pointer);

}  // namespace ledger
