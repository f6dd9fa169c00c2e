#include "fingerprint/graphql.h"

#include <algorithm>
#include <string>
#include <vector>

namespace ledger {
namespace {

constexpr std::size_t nesting_max = 200;
constexpr std::size_t operations_max = 100;

bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_number_char(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.'; }
bool goes_on(char c) { return starts_name(c) || (c >= '0' && c <= '9'); }

struct Token {
  enum class Kind : std::uint8_t { end, bad, punctuator, name, value } kind = Kind::end;
  std::string_view text;

  bool is(char c) const { return kind == Kind::punctuator && text.front() == c; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

// Section 2.1: tokens, without what is ignored between them.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (text_.starts_with(byte_order_mark)) text_.remove_prefix(byte_order_mark.size());
  }

  Token next() {
    if (!skip_ignored()) return {Token::Kind::bad, {}};
    if (text_.empty()) return {};
    const char c = text_.front();
    if (starts_name(c)) return take(Token::Kind::name, run(goes_on));
    if (c == '"') return string();
    if (is_number_char(c) && c != '.')
      return take(Token::Kind::value, run([](char d) { return is_number_char(d) || goes_on(d); }));
    constexpr std::string_view punctuators = "!$&()...:=@[]{|}";
    const bool known = punctuators.find(c) != punctuators.npos;
    return take(known ? Token::Kind::punctuator : Token::Kind::bad, 1);
  }

 private:
  template <class Is>
  std::size_t run(Is is) const {
    const auto end = std::find_if_not(text_.begin(), text_.end(), is);
    return static_cast<std::size_t>(end - text_.begin());
  }
  Token take(Token::Kind kind, std::size_t n) {
    const Token token{kind, text_.substr(0, n)};
    text_.remove_prefix(n);
    return token;
  }
  // White space, commas and comments. False: a comment that another reader could end elsewhere.
  bool skip_ignored() {
    constexpr std::string_view ignored = " \t\r\n,";
    for (;;) {
      text_.remove_prefix(std::min(text_.size(), text_.find_first_not_of(ignored)));
      if (!text_.starts_with('#')) return true;
      const auto comment = text_.substr(0, text_.find_first_of("\r\n"));
      const auto plain = [](char c) { return c == '\t' || (c >= ' ' && c <= '~'); };
      if (!std::all_of(comment.begin(), comment.end(), plain)) return false;
      text_.remove_prefix(comment.size());
    }
  }
  Token string() {
    constexpr std::string_view block = "\"\"\"";
    if (text_.starts_with(block)) {
      for (auto at = text_.find(block, block.size()); at != text_.npos;
           at = text_.find(block, at + block.size()))
        if (text_[at - 1] != '\\') return take(Token::Kind::value, at + block.size());
      return {Token::Kind::bad, {}};
    }
    for (std::size_t at = 1; at < text_.size() && text_[at] != '\n' && text_[at] != '\r'; ++at) {
      if (text_[at] == '"') return take(Token::Kind::value, at + 1);
      if (text_[at] == '\\') ++at;
    }
    return {Token::Kind::bad, {}};
  }

  std::string_view text_;
};

struct Operation {
  GraphqlOperation kind;
  std::string_view name;
};

class Reader {
 public:
  explicit Reader(std::string_view document) : lexer_(document) { advance(); }

  // Section 2.2: every operation; nullopt where anything else than operations and fragments stands.
  std::optional<std::vector<Operation>> operations() {
    std::vector<Operation> all;
    while (token_.kind != Token::Kind::end) {
      if (all.size() == operations_max || !definition(all)) return std::nullopt;
    }
    return all;
  }

 private:
  void advance() { token_ = lexer_.next(); }

  bool definition(std::vector<Operation>& all) {
    if (token_.is('{')) {
      all.push_back({GraphqlOperation::query, {}});
      return group();
    }
    if (token_.is_name("fragment")) return fragment();
    Operation made{GraphqlOperation::query, {}};
    if (token_.is_name("mutation"))
      made.kind = GraphqlOperation::mutation;
    else if (token_.is_name("subscription"))
      made.kind = GraphqlOperation::subscription;
    else if (!token_.is_name("query"))
      return false;
    advance();
    if (token_.kind == Token::Kind::name) {
      made.name = token_.text;
      advance();
    }
    all.push_back(made);
    if (token_.is('(') && !group()) return false;
    return directives() && token_.is('{') && group();
  }

  bool fragment() {
    advance();
    if (token_.kind != Token::Kind::name || token_.text == "on") return false;
    advance();
    if (!token_.is_name("on")) return false;
    advance();
    if (token_.kind != Token::Kind::name) return false;
    advance();
    return directives() && token_.is('{') && group();
  }

  bool directives() {
    while (token_.is('@')) {
      advance();
      if (token_.kind != Token::Kind::name) return false;
      advance();
      if (token_.is('(') && !group()) return false;
    }
    return true;
  }

  // From an opening bracket over its closing one. A selection set holds names and what belongs to
  // them, and something at all; values stand in parentheses alone. So no JSON object is one.
  bool group() {
    std::string open;
    std::size_t parentheses = 0;
    bool empty = false;
    do {
      if (token_.kind == Token::Kind::value && parentheses == 0) return false;
      constexpr std::string_view of_values = "[]$=!&|";
      if (token_.kind == Token::Kind::punctuator && parentheses == 0 &&
          of_values.find(token_.text.front()) != of_values.npos)
        return false;
      const bool closes = token_.is('}') || token_.is(')') || token_.is(']');
      if (closes) {
        if (open.back() != token_.text.front() ||
            (empty && !token_.is(']') && !in_value(open, parentheses)))
          return false;
        if (open.back() == ')') --parentheses;
        open.pop_back();
      }
      empty = token_.is('{') || token_.is('(') || token_.is('[');
      if (token_.is('{')) open += '}';
      if (token_.is('(')) open += ')', ++parentheses;
      if (token_.is('[')) open += ']';
      if (open.size() > nesting_max) return false;
      advance();
      if (token_.kind == Token::Kind::bad) return false;
      if (token_.kind == Token::Kind::end) return open.empty();
    } while (!open.empty());
    return true;
  }

  // Is the innermost bracket an object among the values of a pair of parentheses? It may be empty.
  static bool in_value(const std::string& open, std::size_t parentheses) {
    return parentheses > 0 && open.back() == '}';
  }

  Lexer lexer_;
  Token token_;
};

}  // namespace

std::optional<GraphqlOperation> selected_operation(std::string_view document,
                                                   std::string_view name) {
  const auto all = Reader(document).operations();
  if (!all || all->empty()) return std::nullopt;
  const auto is_named = [&](const Operation& o) { return o.name == name; };
  // An operation without a name stands alone (section 5.2.2.1), and names are unique (5.2.1.1).
  if (name.empty() || all->size() == 1) {
    if (all->size() > 1 || (!name.empty() && !is_named(all->front()))) return std::nullopt;
    return all->front().kind;
  }
  const bool unnamed =
      std::any_of(all->begin(), all->end(), [](const Operation& o) { return o.name.empty(); });
  if (unnamed || std::count_if(all->begin(), all->end(), is_named) != 1) return std::nullopt;
  return std::find_if(all->begin(), all->end(), is_named)->kind;
}

}  // namespace ledger
