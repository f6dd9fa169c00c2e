#include "fingerprint/json.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "fingerprint/number.h"

namespace ledger {

// A flat tree: containers hold the indexes of their children, in the order of the text until
// sorted.
struct JsonDocument::Node {
  enum class Kind : std::uint8_t {
    null,
    boolean_true,
    boolean_false,
    number,
    string,
    array,
    object
  };
  Kind kind = Kind::null;
  std::string_view key;        // of a member: unescaped
  std::string_view text;       // number: as written; string: unescaped
  std::vector<Node> children;  // object: sorted by key
};

struct JsonDocument::Parts {
  Node root;
  std::deque<std::string> unescaped;  // strings that had escapes; the others are views of the text
};

namespace {

using Node = JsonDocument::Node;

// RFC 8785 section 3.2.3 orders by UTF-16 code units. In UTF-8 that is byte order, but for the
// characters beyond U+FFFF (lead bytes F0..F4), whose surrogates sort before U+E000..U+FFFF (EE,
// EF).
int utf16_rank(unsigned char c) { return c == 0xEE || c == 0xEF ? c + 0x10 : c; }

bool utf16_less(std::string_view a, std::string_view b) {
  const auto [x, y] = std::mismatch(
      a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  if (x == a.end() || y == b.end()) return a.size() < b.size();
  return utf16_rank(static_cast<unsigned char>(*x)) < utf16_rank(static_cast<unsigned char>(*y));
}

class Reader {
 public:
  Reader(std::string_view text, std::deque<std::string>& unescaped)
      : text_(text), unescaped_(unescaped) {}

  std::string document(Node& root) {
    skip_space();
    if (!value(root, 0)) return fault_;
    skip_space();
    if (at_ != text_.size()) return "text after the value";
    return "";
  }

 private:
  bool fail(std::string why) {
    if (fault_.empty()) fault_ = std::move(why);
    return false;
  }
  bool end() const { return at_ >= text_.size(); }
  char peek() const { return end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (peek() != c || end()) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (!end() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }

  bool value(Node& node, int depth) {
    switch (peek()) {
      case '{':
      case '[':
        if (depth >= JsonDocument::depth_max) return fail("nesting deeper than 128");
        return text_[at_] == '{' ? object(node, depth + 1) : array(node, depth + 1);
      case '"':
        node.kind = Node::Kind::string;
        return string(node.text);
      case 't':
        return word(node, "true", Node::Kind::boolean_true);
      case 'f':
        return word(node, "false", Node::Kind::boolean_false);
      case 'n':
        return word(node, "null", Node::Kind::null);
      default:
        return number(node);
    }
  }

  bool word(Node& node, std::string_view expected, Node::Kind kind) {
    if (text_.substr(at_, expected.size()) != expected) return fail("an unknown word");
    at_ += expected.size();
    node.kind = kind;
    return true;
  }

  std::size_t digits() {
    const auto from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - from;
  }

  bool number(Node& node) {
    const auto from = at_;
    take('-');
    if (!take('0') && digits() == 0) return fail("not a JSON value");
    if (take('.') && digits() == 0) return fail("a number without digits after its point");
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      if (digits() == 0) return fail("a number without digits in its exponent");
    }
    node.kind = Node::Kind::number;
    node.text = text_.substr(from, at_ - from);
    if (!canonical_number(node.text, false)) return fail("an exponent of more than nine digits");
    return true;
  }

  bool array(Node& node, int depth) {
    node.kind = Node::Kind::array;
    ++at_;
    skip_space();
    if (take(']')) return true;
    for (;;) {
      skip_space();
      if (!value(node.children.emplace_back(), depth)) return false;
      skip_space();
      if (take(']')) return true;
      if (!take(',')) return fail("an array without `,` or `]`");
    }
  }

  bool object(Node& node, int depth) {
    node.kind = Node::Kind::object;
    ++at_;
    skip_space();
    if (!take('}'))
      for (;;) {
        skip_space();
        auto& member = node.children.emplace_back();
        if (peek() != '"') return fail("a member without a name");
        if (!string(member.key)) return false;
        skip_space();
        if (!take(':')) return fail("a member without `:`");
        skip_space();
        if (!value(member, depth)) return false;
        skip_space();
        if (take('}')) break;
        if (!take(',')) return fail("an object without `,` or `}`");
      }
    auto& members = node.children;
    const auto less = [](const Node& a, const Node& b) { return utf16_less(a.key, b.key); };
    if (!std::is_sorted(members.begin(), members.end(), less))
      std::sort(members.begin(), members.end(), less);
    const auto same = [](const Node& a, const Node& b) { return a.key == b.key; };
    if (std::adjacent_find(members.begin(), members.end(), same) != members.end())
      return fail("a repeated key");
    return true;
  }

  // A string's characters: a view of the text where it has no escapes.
  bool string(std::string_view& out) {
    const auto from = ++at_;
    std::string* owned = nullptr;
    auto plain_from = from;
    for (;;) {
      if (end()) return fail("a string without its end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c < 0x20) return fail("a control character in a string");
      if (c == '"') break;
      if (c == '\\') {
        if (owned == nullptr) owned = &unescaped_.emplace_back();
        owned->append(text_.substr(plain_from, at_ - plain_from));
        ++at_;
        if (!escape(*owned)) return false;
        plain_from = at_;
      } else if (c < 0x80) {
        ++at_;
      } else if (!utf8()) {
        return fail("invalid UTF-8");
      }
    }
    if (owned != nullptr) {
      owned->append(text_.substr(plain_from, at_ - plain_from));
      out = *owned;
    } else {
      out = text_.substr(from, at_ - from);
    }
    ++at_;
    return true;
  }

  // One character of more than one byte (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
  bool utf8() {
    const auto byte = [&](std::size_t i) {
      return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0;
    };
    const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
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
    if (size == 0) return false;
    for (std::size_t i = 1; i < size; ++i)
      if (!tail(i)) return false;
    at_ += size;
    return true;
  }

  bool hex4(unsigned& unit) {
    unit = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      unsigned digit = 0;
      if (c >= '0' && c <= '9')
        digit = static_cast<unsigned>(c - '0');
      else if (c >= 'a' && c <= 'f')
        digit = static_cast<unsigned>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        digit = static_cast<unsigned>(c - 'A' + 10);
      else
        return fail("a \\u escape without four hex digits");
      unit = unit << 4 | digit;
      ++at_;
    }
    return true;
  }

  bool escape(std::string& out) {
    static constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
    if (end()) return fail("a string without its end");
    const char c = text_[at_++];
    if (const auto simple = from.find(c); simple != from.npos) {
      out += to[simple];
      return true;
    }
    unsigned unit = 0;
    if (c != 'u') return fail("an unknown escape");
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
    append_utf8(out, unit);
    return true;
  }

  static void append_utf8(std::string& out, unsigned c) {
    const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xC0 | c >> 6);
      tail(0);
    } else if (c < 0x10000) {
      out += static_cast<char>(0xE0 | c >> 12);
      tail(6);
      tail(0);
    } else {
      out += static_cast<char>(0xF0 | c >> 18);
      tail(12);
      tail(6);
      tail(0);
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string fault_;
  std::deque<std::string>& unescaped_;
};

class Writer {
 public:
  Writer(bool round, std::string& out) : round_(round), out_(out) {}

  // `patterns`: those whose first `depth` tokens have matched on the way here.
  void value(const Node& node, const std::vector<const JsonPattern*>& patterns, std::size_t depth) {
    switch (node.kind) {
      case Node::Kind::null:
        out_ += "null";
        break;
      case Node::Kind::boolean_true:
        out_ += "true";
        break;
      case Node::Kind::boolean_false:
        out_ += "false";
        break;
      case Node::Kind::number:
        out_ += *canonical_number(node.text, round_);
        break;
      case Node::Kind::string:
        string(node.text);
        break;
      case Node::Kind::array:
      case Node::Kind::object:
        container(node, patterns, depth);
    }
  }

 private:
  void container(const Node& node, const std::vector<const JsonPattern*>& patterns,
                 std::size_t depth) {
    const bool object = node.kind == Node::Kind::object;
    out_ += object ? '{' : '[';
    bool first = true;
    for (std::size_t i = 0; i < node.children.size(); ++i) {
      const auto& child = node.children[i];
      std::vector<const JsonPattern*> deeper;
      if (!patterns.empty()) {
        const auto name = object ? std::string(child.key) : std::to_string(i);
        bool ignored = false;
        for (const auto* p : patterns) {
          if (!p->any[depth] && p->tokens[depth] != name) continue;
          ignored = ignored || depth + 1 == p->tokens.size();
          deeper.push_back(p);
        }
        if (ignored) continue;
      }
      if (!std::exchange(first, false)) out_ += ',';
      if (object) {
        string(child.key);
        out_ += ':';
      }
      value(child, deeper, depth + 1);
    }
    out_ += object ? '}' : ']';
  }

  // RFC 8785 section 3.2.2.2.
  void string(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    out_ += '"';
    auto from = text.begin();
    for (auto it = text.begin(); it != text.end(); ++it) {
      const auto c = static_cast<unsigned char>(*it);
      if (c >= 0x20 && c != '"' && c != '\\') continue;
      out_.append(from, it);
      from = it + 1;
      out_ += '\\';
      static constexpr std::string_view named = "\b\t\n\f\r\"\\", letters = "btnfr\"\\";
      if (const auto at = named.find(*it); at != named.npos)
        out_ += letters[at];
      else
        ((out_ += "u00") += digits[c >> 4]) += digits[c & 15];
    }
    out_.append(from, text.end());
    out_ += '"';
  }

  const bool round_;
  std::string& out_;
};

}  // namespace

JsonDocument::JsonDocument(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

tl::expected<JsonDocument, std::string> JsonDocument::parse(std::string_view text) {
  auto parts = std::make_unique<Parts>();
  if (auto fault = Reader(text, parts->unescaped).document(parts->root); !fault.empty())
    return tl::unexpected(std::move(fault));
  return JsonDocument(std::move(parts));
}

std::string JsonDocument::canonical(bool round,
                                    const std::vector<const JsonPattern*>& ignored) const {
  std::string out;
  Writer(round, out).value(parts_->root, ignored, 0);
  return out;
}

bool JsonDocument::is_array() const { return parts_->root.kind == Node::Kind::array; }

const JsonDocument::Node* JsonDocument::at(std::string_view pointer) const {
  const auto tokens = pointer_tokens(pointer);
  if (!tokens) return nullptr;
  const Node* node = &parts_->root;
  for (const auto& token : *tokens) {
    const Node* child = nullptr;
    for (std::size_t i = 0; i < node->children.size() && child == nullptr; ++i) {
      const auto& candidate = node->children[i];
      const bool named =
          node->kind == Node::Kind::object ? candidate.key == token : std::to_string(i) == token;
      if (named) child = &candidate;
    }
    if (child == nullptr) return nullptr;
    node = child;
  }
  return node;
}

namespace {

// 42, not 42e0: an integer of a size that people write reads as they write it.
std::string plain_number(std::string_view text) {
  constexpr std::size_t plain_zeros_max = 18;
  auto number = *canonical_number(text, false);
  const auto e = number.find('e');
  if (e == number.npos || number[e + 1] == '-' || number.size() - e > 3) return number;
  const auto zeros = std::stoul(number.substr(e + 1));
  if (zeros > plain_zeros_max) return number;
  return number.substr(0, e) + std::string(zeros, '0');
}

}  // namespace

std::optional<std::string> JsonDocument::scalar_at(std::string_view pointer) const {
  const auto* node = at(pointer);
  if (node == nullptr) return std::nullopt;
  if (node->kind == Node::Kind::string) return std::string(node->text);
  if (node->kind == Node::Kind::number) return plain_number(node->text);
  if (node->kind == Node::Kind::boolean_true) return "true";
  if (node->kind == Node::Kind::boolean_false) return "false";
  return std::nullopt;
}

std::optional<std::vector<std::string>> pointer_tokens(std::string_view pointer) {
  std::vector<std::string> tokens;
  if (pointer.empty()) return tokens;
  if (pointer.front() != '/') return std::nullopt;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    auto escaped = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(escaped.size());
    std::string token;
    for (std::size_t i = 0; i < escaped.size(); ++i) {
      if (escaped[i] != '~') {
        token += escaped[i];
        continue;
      }
      const char code = i + 1 < escaped.size() ? escaped[++i] : '\0';
      if (code != '0' && code != '1') return std::nullopt;
      token += code == '0' ? '~' : '/';
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace ledger
