#include "fingerprint/json.h"

#include <charconv>
#include <utility>

#include "fingerprint/json_reader.h"
#include "fingerprint/number.h"

namespace ledger {
namespace {

using Kind = JsonNode::Kind;

// Whether a pattern's token names the element `index` of an array (RFC 6901 section 4: digits
// without leading zeros).
bool names_index(std::string_view token, std::size_t index) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, index).ptr;
  return token == std::string_view(digits, static_cast<std::size_t>(end - digits));
}

class Writer {
 public:
  Writer(const JsonDocument& document, bool round, std::vector<const JsonPattern*> patterns,
         std::string& out)
      : document_(document), round_(round), patterns_(std::move(patterns)), out_(out) {}

  void document() { value(*document_.root(), 0, patterns_.size(), 0); }

 private:
  // patterns_[from, to): those whose first `depth` tokens have matched on the way here.
  void value(const JsonNode& node, std::size_t from, std::size_t to, std::size_t depth) {
    switch (node.kind) {
      case Kind::null:
        out_ += "null";
        break;
      case Kind::boolean_true:
        out_ += "true";
        break;
      case Kind::boolean_false:
        out_ += "false";
        break;
      case Kind::number:
        append_number(out_, node.text, round_);
        break;
      case Kind::string:
        string(node.text);
        break;
      case Kind::array:
      case Kind::object:
        container(node, from, to, depth);
    }
  }

  void container(const JsonNode& node, std::size_t from, std::size_t to, std::size_t depth) {
    const bool object = node.kind == Kind::object;
    out_ += object ? '{' : '[';
    bool first = true;
    std::size_t index = 0;
    for (const auto* child = document_.first_child(node); child != nullptr;
         child = document_.next(*child), ++index) {
      const auto mark = patterns_.size();
      if (!push_matching(*child, object, index, from, to, depth)) {
        if (!std::exchange(first, false)) out_ += ',';
        if (object) {
          string(child->key);
          out_ += ':';
        }
        value(*child, mark, patterns_.size(), depth + 1);
      }
      patterns_.resize(mark);
    }
    out_ += object ? '}' : ']';
  }

  // Pushes the patterns that go on matching below `child`; true if one ends there: it is ignored.
  bool push_matching(const JsonNode& child, bool member, std::size_t index, std::size_t from,
                     std::size_t to, std::size_t depth) {
    for (auto i = from; i < to; ++i) {
      const auto& pattern = *patterns_[i];
      const std::string_view token = pattern.tokens[depth];
      const bool matches =
          pattern.any[depth] || (member ? token == child.key : names_index(token, index));
      if (!matches) continue;
      if (depth + 1 == pattern.tokens.size()) return true;
      patterns_.push_back(&pattern);
    }
    return false;
  }

  // RFC 8785 section 3.2.2.2.
  void string(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    static constexpr std::string_view named = "\b\t\n\f\r\"\\", letters = "btnfr\"\\";
    out_ += '"';
    auto from = text.begin();
    for (auto it = text.begin(); it != text.end(); ++it) {
      const auto c = static_cast<unsigned char>(*it);
      if (c >= 0x20 && c != '"' && c != '\\') continue;
      out_.append(from, it);
      from = it + 1;
      out_ += '\\';
      if (const auto at = named.find(*it); at != named.npos)
        out_ += letters[at];
      else
        ((out_ += "u00") += digits[c >> 4]) += digits[c & 15];
    }
    out_.append(from, text.end());
    out_ += '"';
  }

  const JsonDocument& document_;
  const bool round_;
  std::vector<const JsonPattern*> patterns_;  // a stack: each level's on top of its parent's
  std::string& out_;
};

}  // namespace

std::optional<std::string> JsonNode::scalar(bool round) const {
  switch (kind) {
    case Kind::string:
      return std::string(text);
    case Kind::number:
      return plain_number(text, round);
    case Kind::boolean_true:
      return "true";
    case Kind::boolean_false:
      return "false";
    default:
      return std::nullopt;
  }
}

tl::expected<JsonDocument, std::string> JsonDocument::parse(std::string_view text) {
  JsonDocument document;
  document.text_size_ = text.size();
  const auto fault = JsonReader(text, document.nodes_, document.unescaped_).read();
  if (!fault.empty()) return tl::unexpected(std::string(fault));
  return document;
}

std::string JsonDocument::canonical(bool round, std::vector<const JsonPattern*> ignored) const {
  std::string out;
  out.reserve(text_size_ + 32);  // an exponent may make it longer than it was, but rarely does
  Writer(*this, round, std::move(ignored), out).document();
  return out;
}

const JsonNode* JsonDocument::first_child(const JsonNode& container) const {
  return container.first_child == JsonNode::none ? nullptr : &nodes_[container.first_child];
}

const JsonNode* JsonDocument::next(const JsonNode& child) const {
  return child.next == JsonNode::none ? nullptr : &nodes_[child.next];
}

const JsonNode* JsonDocument::member(const JsonNode& container, std::string_view key) const {
  if (container.kind != Kind::object) return nullptr;
  const auto* child = first_child(container);
  while (child != nullptr && child->key != key) child = next(*child);
  return child;
}

const JsonNode* JsonDocument::at(std::string_view pointer) const {
  const auto tokens = pointer_tokens(pointer);
  if (!tokens) return nullptr;
  const JsonNode* node = root();
  for (const auto& token : *tokens) {
    if (node->kind == Kind::object) {
      node = member(*node, token);
    } else {
      node = first_child(*node);
      for (std::size_t i = 0; node != nullptr && !names_index(token, i); ++i) node = next(*node);
    }
    if (node == nullptr) return nullptr;
  }
  return node;
}

std::optional<std::vector<std::string>> pointer_tokens(std::string_view pointer) {
  std::vector<std::string> tokens;
  if (!pointer.empty() && pointer.front() != '/') return std::nullopt;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const auto escaped = pointer.substr(0, pointer.find('/'));
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
