#include "fingerprint/json_reader.h"

#include <algorithm>
#include <cstring>

#include "fingerprint/number.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// Byte order in UTF-8 is code point order. UTF-16 differs in that the surrogates of characters
// beyond U+FFFF (lead bytes F0..F4) sort before U+E000..U+FFFF (lead bytes EE, EF).
int utf16_rank(char c) {
  const int byte = static_cast<unsigned char>(c);
  return byte == 0xEE || byte == 0xEF ? byte + 0x10 : byte;
}

}  // namespace

bool utf16_less(std::string_view a, std::string_view b) {
  const auto shorter = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  const auto [x, y] = std::mismatch(a.begin(), a.begin() + shorter, b.begin());
  if (x == a.end() || y == b.end()) return a.size() < b.size();
  return utf16_rank(*x) < utf16_rank(*y);
}

JsonReader::JsonReader(std::string_view text, std::vector<JsonNode>& nodes,
                       std::unique_ptr<char[]>& unescaped)
    : text_(text), nodes_(nodes), unescaped_(unescaped) {}

std::string_view JsonReader::read() {
  if (text_.size() >= JsonNode::none) return "longer than 4 GiB";  // nodes are 32-bit indexes
  constexpr std::size_t bytes_per_value = 16;  // a guess that spares most bodies a reallocation
  nodes_.reserve(text_.size() / bytes_per_value + 8);
  std::uint32_t root = 0;
  skip_space();
  if (!value(root, 0)) return fault_;
  skip_space();
  return end() ? "" : "text after the value";
}

bool JsonReader::fail(std::string_view why) {
  fault_ = why;
  return false;
}

bool JsonReader::take(char c) {
  if (end() || text_[at_] != c) return false;
  ++at_;
  return true;
}

std::size_t JsonReader::take_digits() {
  const auto from = at_;
  while (peek() >= '0' && peek() <= '9') ++at_;
  return at_ - from;
}

void JsonReader::skip_space() {
  while (!end() &&
         (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
    ++at_;
}

bool JsonReader::value(std::uint32_t& index, int depth) {
  index = static_cast<std::uint32_t>(nodes_.size());
  auto& node = nodes_.emplace_back();
  switch (peek()) {
    case '{':
    case '[':
      if (depth >= JsonDocument::depth_max) return fail("nesting deeper than 128");
      return peek() == '{' ? object(index, depth + 1) : array(index, depth + 1);
    case '"':
      node.kind = JsonNode::Kind::string;
      return string(node.text);
    case 't':
      return word(JsonNode::Kind::boolean_true, "true");
    case 'f':
      return word(JsonNode::Kind::boolean_false, "false");
    case 'n':
      return word(JsonNode::Kind::null, "null");
    default:
      return number();
  }
}

bool JsonReader::word(JsonNode::Kind kind, std::string_view expected) {
  if (text_.substr(at_, expected.size()) != expected) return fail("an unknown word");
  at_ += expected.size();
  nodes_.back().kind = kind;
  return true;
}

bool JsonReader::number() {
  const auto from = at_;
  take('-');
  if (!take('0') && take_digits() == 0) return fail("not a JSON value");
  if (take('.') && take_digits() == 0) return fail("a number without digits after its point");
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (take_digits() == 0) return fail("a number without digits in its exponent");
  }
  auto& node = nodes_.back();
  node.kind = JsonNode::Kind::number;
  node.text = text_.substr(from, at_ - from);
  return is_canonical_number(node.text) || fail("an exponent of more than nine digits");
}

bool JsonReader::array(std::uint32_t index, int depth) {
  nodes_[index].kind = JsonNode::Kind::array;
  ++at_;
  skip_space();
  if (take(']')) return true;
  auto last = JsonNode::none;
  for (;;) {
    skip_space();
    std::uint32_t child = 0;
    if (!value(child, depth)) return false;
    (last == JsonNode::none ? nodes_[index].first_child : nodes_[last].next) = child;
    last = child;
    skip_space();
    if (take(']')) return true;
    if (!take(',')) return fail("an array without `,` or `]`");
  }
}

bool JsonReader::object(std::uint32_t index, int depth) {
  nodes_[index].kind = JsonNode::Kind::object;
  ++at_;
  skip_space();
  if (take('}')) return true;
  const auto from = members_.size();
  for (;;) {
    skip_space();
    if (peek() != '"') return fail("a member without a name");
    std::string_view key;
    if (!string(key)) return false;
    skip_space();
    if (!take(':')) return fail("a member without `:`");
    skip_space();
    std::uint32_t child = 0;
    if (!value(child, depth)) return false;
    nodes_[child].key = key;
    members_.push_back(child);
    skip_space();
    if (take('}')) return sort_members(index, from);
    if (!take(',')) return fail("an object without `,` or `}`");
  }
}

// Chains the members from `from` on in the order of their keys, which must all differ.
bool JsonReader::sort_members(std::uint32_t index, std::size_t from) {
  const auto begin = members_.begin() + static_cast<std::ptrdiff_t>(from);
  const auto less = [&](std::uint32_t a, std::uint32_t b) {
    return utf16_less(nodes_[a].key, nodes_[b].key);
  };
  if (!std::is_sorted(begin, members_.end(), less)) std::sort(begin, members_.end(), less);
  auto last = JsonNode::none;
  for (auto it = begin; it != members_.end(); ++it) {
    if (last != JsonNode::none && nodes_[last].key == nodes_[*it].key)
      return fail("a repeated key");
    (last == JsonNode::none ? nodes_[index].first_child : nodes_[last].next) = *it;
    last = *it;
  }
  members_.resize(from);
  return true;
}

// A string's characters: a view of the text, or of unescaped_ where it has escapes.
bool JsonReader::string(std::string_view& out) {
  const auto from = ++at_;
  const char* owned = nullptr;
  auto copied = from;
  for (;;) {
    if (end()) return fail("a string without its end");
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c < 0x20) return fail("a control character in a string");
    if (c == '"') break;
    if (c == '\\') {
      // What has been unescaped is never longer than its text, so that one allocation is enough.
      if (!unescaped_) written_ = (unescaped_ = std::make_unique<char[]>(text_.size())).get();
      if (owned == nullptr) owned = written_;
      put(text_.substr(copied, at_ - copied));
      ++at_;
      if (!escape()) return false;
      copied = at_;
    } else if (c < 0x80) {
      ++at_;
    } else if (!utf8()) {
      return fail("invalid UTF-8");
    }
  }
  out = text_.substr(from, at_ - from);
  if (owned != nullptr) {
    put(text_.substr(copied, at_ - copied));
    out = {owned, static_cast<std::size_t>(written_ - owned)};
  }
  ++at_;
  return true;
}

// One character of more than one byte (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
bool JsonReader::utf8() {
  const auto byte = [&](std::size_t i) {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0;
  };
  const int lead = byte(0), second = byte(1);
  std::size_t size = 0;
  if (lead >= 0xC2 && lead <= 0xDF)
    size = 2;
  else if (lead >= 0xE0 && lead <= 0xEF && !(lead == 0xE0 && second < 0xA0) &&
           !(lead == 0xED && second > 0x9F))
    size = 3;
  else if (lead >= 0xF0 && lead <= 0xF4 && !(lead == 0xF0 && second < 0x90) &&
           !(lead == 0xF4 && second > 0x8F))
    size = 4;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xC0) != 0x80) return false;
  at_ += size;
  return size != 0;
}

bool JsonReader::hex4(unsigned& unit) {
  unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const int digit = hex_value(peek());
    if (digit < 0) return fail("a \\u escape without four hex digits");
    unit = unit << 4 | static_cast<unsigned>(digit);
  }
  return true;
}

bool JsonReader::escape() {
  static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  if (end()) return fail("a string without its end");
  const char name = text_[at_++];
  if (const auto simple = names.find(name); simple != names.npos) {
    put(meanings.substr(simple, 1));
    return true;
  }
  unsigned unit = 0;
  if (name != 'u') return fail("an unknown escape");
  if (!hex4(unit)) return false;
  if (unit >= 0xDC00 && unit <= 0xDFFF) return fail("a lone surrogate");
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    unsigned low = 0;
    if (text_.substr(at_, 2) != "\\u") return fail("a lone surrogate");
    at_ += 2;
    if (!hex4(low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail("a lone surrogate");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  put_utf8(unit);
  return true;
}

void JsonReader::put(std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(written_, bytes.data(), bytes.size());
  written_ += bytes.size();
}

void JsonReader::put_utf8(unsigned c) {
  const auto tail = [&](int shift) { *written_++ = static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    *written_++ = static_cast<char>(c);
  } else if (c < 0x800) {
    *written_++ = static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    *written_++ = static_cast<char>(0xE0 | c >> 12);
    tail(6);
    tail(0);
  } else {
    *written_++ = static_cast<char>(0xF0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace ledger
