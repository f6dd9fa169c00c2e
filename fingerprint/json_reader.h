// Reads JSON text into nodes. Internal to fingerprint/json.h, which says what is accepted.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "fingerprint/json.h"

namespace ledger {

class JsonReader {
 public:
  // Strings with escapes are written to `unescaped`, allocated at the first of them.
  JsonReader(std::string_view text, std::vector<JsonNode>& nodes,
             std::unique_ptr<char[]>& unescaped);

  // Empty, or why the text is not canonical.
  std::string_view read();

 private:
  bool fail(std::string_view why);
  bool value(std::uint32_t& index, int depth);
  bool word(JsonNode::Kind kind, std::string_view expected);
  bool number();
  bool array(std::uint32_t index, int depth);
  bool object(std::uint32_t index, int depth);
  bool sort_members(std::uint32_t index, std::size_t from);
  bool string(std::string_view& out);
  bool escape();
  bool hex4(unsigned& unit);
  bool utf8();

  bool end() const { return at_ >= text_.size(); }
  char peek() const { return end() ? '\0' : text_[at_]; }
  bool take(char c);
  std::size_t take_digits();
  void skip_space();
  void put(std::string_view bytes);
  void put_utf8(unsigned character);

  const std::string_view text_;
  std::vector<JsonNode>& nodes_;
  std::unique_ptr<char[]>& unescaped_;
  std::size_t at_ = 0;
  char* written_ = nullptr;             // the end of what is in unescaped_
  std::vector<std::uint32_t> members_;  // of the objects that are open, the innermost last
  std::string_view fault_;
};

// RFC 8785 section 3.2.3: the order of UTF-16 code units, for texts in valid UTF-8.
bool utf16_less(std::string_view a, std::string_view b);

}  // namespace ledger
