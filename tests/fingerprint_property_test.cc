// Whatever the call: another spelling never changes its fingerprint, another meaning always does.
#include <cstdlib>
#include <memory>

#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

// A JSON value as it is meant: numbers are integers times ten to an exponent.
struct Value {
  enum class Kind : std::uint8_t { word, number, string, array, object } kind = Kind::word;
  std::string text;  // word, string (UTF-8); number: digits that do not end with 0
  int exponent = 0;
  std::vector<std::pair<std::string, Value>> children;  // array: without names
};

const std::vector<std::string> characters = {
    "a",    "B",    "7", " ",         "/", "\"",           "\\", "\n",
    "\x01", "\x7f", "é", "e\xCC\x81", "€", "\xEF\xAC\xB3", "😂"};

std::string random_text(Random& random) {
  std::string text;
  for (auto n = random.below(6); n > 0; --n) text += random.pick(characters);
  return text;
}

Value random_value(Random& random, int depth) {
  Value v;
  v.kind = static_cast<Value::Kind>(random.below(depth > 0 ? 5 : 3));
  switch (v.kind) {
    case Value::Kind::word:
      v.text = random.pick(std::vector<std::string>{"true", "false", "null"});
      break;
    case Value::Kind::number:
      // At most 8 digits, so that no rounding bites; the exponent may be anything.
      v.text = (random.coin() ? "-" : "") + std::to_string(random.below(9'999'999)) +
               random.pick(std::vector<std::string>{"1", "3", "9"});
      v.exponent = static_cast<int>(random.below(40)) - 20;
      if (v.exponent < -8) v.exponent = -8;
      break;
    case Value::Kind::string:
      v.text = random_text(random);
      break;
    case Value::Kind::array:
    case Value::Kind::object:
      for (auto n = random.below(5); n > 0; --n)
        v.children.emplace_back(
            v.kind == Value::Kind::object ? random_text(random) + std::to_string(n) : "",
            random_value(random, depth - 1));
  }
  return v;
}

std::string space(Random& random) {
  std::string out;
  while (random.below(4) == 0) out += random.pick(std::vector<std::string>{" ", "\n", "\t", "\r"});
  return out;
}

std::string unit_escape(Random& random, unsigned unit) {
  char out[8];
  std::snprintf(out, sizeof out, random.coin() ? "\\u%04x" : "\\u%04X", unit);
  return out;
}

// One character, escaped or not, in one of the ways that JSON allows.
std::string spell_character(Random& random, std::string_view c) {
  const auto lead = static_cast<unsigned char>(c[0]);
  unsigned point = lead;
  if (c.size() == 2) point = (lead & 0x1Fu) << 6;
  if (c.size() == 3) point = (lead & 0x0Fu) << 12;
  if (c.size() == 4) point = (lead & 0x07u) << 18;
  for (std::size_t i = 1; i < c.size(); ++i)
    point |= (static_cast<unsigned char>(c[i]) & 0x3Fu) << (6 * (c.size() - 1 - i));
  const bool must = lead < 0x20 || c == "\"" || c == "\\";
  if (!must && random.below(3) != 0) return std::string(c);
  if (c == "/" && random.coin()) return "\\/";
  if (c == "\n" && random.coin()) return "\\n";
  if ((c == "\"" || c == "\\") && random.coin()) return "\\" + std::string(c);
  if (point < 0x10000) return unit_escape(random, point);
  point -= 0x10000;
  return unit_escape(random, 0xD800 + (point >> 10)) +
         unit_escape(random, 0xDC00 + (point & 0x3FF));
}

std::string spell_string(Random& random, std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    out += spell_character(random, text.substr(0, size));
    text.remove_prefix(size);
  }
  return out + "\"";
}

std::string spell_number(Random& random, const Value& v) {
  const bool negative = v.text[0] == '-';
  auto digits = v.text.substr(negative ? 1 : 0);
  int exponent = v.exponent;
  for (auto zeros = random.below(4); zeros > 0; --zeros, --exponent) digits += '0';
  auto fraction = random.below(static_cast<unsigned>(digits.size()) + 3);
  if (fraction >= digits.size()) digits.insert(0, fraction - digits.size() + 1, '0');
  exponent += static_cast<int>(fraction);
  auto whole = digits.substr(0, digits.size() - fraction);
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size() - 1));
  std::string out = (negative ? "-" : "") + whole;
  if (fraction > 0) out += "." + digits.substr(digits.size() - fraction);
  if (exponent == 0 && random.coin()) return out;
  out += random.coin() ? "e" : "E";
  out += exponent < 0 ? "-" : random.coin() ? "+" : "";
  if (random.coin()) out += "00";
  return out + std::to_string(std::abs(exponent));
}

std::string spell(Random& random, const Value& v) {
  switch (v.kind) {
    case Value::Kind::word:
      return v.text;
    case Value::Kind::number:
      return spell_number(random, v);
    case Value::Kind::string:
      return spell_string(random, v.text);
    default:
      break;
  }
  const bool object = v.kind == Value::Kind::object;
  auto children = v.children;
  if (object) std::shuffle(children.begin(), children.end(), random.engine);
  std::string out = object ? "{" : "[";
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (i > 0) out += ",";
    out += space(random);
    if (object)
      out += spell_string(random, children[i].first) + space(random) + ":" + space(random);
    out += spell(random, children[i].second) + space(random);
  }
  return out + space(random) + (object ? "}" : "]");
}

// The same characters as another type: 1 and "1", "a" and ["a"], [] and {}.
void change_type(Value& v) {
  using enum Value::Kind;
  const auto was = v.kind;
  if (was == string) {
    v = Value{array, "", 0, {{"", v}}};
  } else if (was == word || was == number) {
    v.kind = string;
  } else {
    v.kind = was == array ? object : array;
    for (std::size_t i = 0; i < v.children.size(); ++i)
      v.children[i].first = was == array ? std::to_string(i) : "";
  }
}

// Swaps two elements of an array; false where none are sure to differ.
bool change_order(Value& v) {
  if (v.kind != Value::Kind::array) return false;
  for (std::size_t i = 1; i < v.children.size(); ++i)
    if (v.children[i].second.kind != v.children[i - 1].second.kind) {
      std::swap(v.children[i], v.children[i - 1]);
      return true;
    }
  return false;
}

// Changes what one randomly chosen value means.
void change(Random& random, Value& v) {
  if (!v.children.empty() && random.below(3) != 0) {
    auto& [name, child] = v.children[random.below(static_cast<unsigned>(v.children.size()))];
    if (v.kind == Value::Kind::object && random.below(4) == 0)
      name += "x";
    else
      change(random, child);
    return;
  }
  if (random.below(4) == 0) return change_type(v);
  if (random.coin() && change_order(v)) return;
  switch (v.kind) {
    case Value::Kind::word:
      v.text = v.text == "true" ? "false" : "true";
      break;
    case Value::Kind::number:
      if (random.coin())
        v.text = v.text[0] == '-' ? v.text.substr(1) : "-" + v.text;
      else if (random.coin())
        v.exponent += 1;
      else
        v.text.back() = v.text.back() == '7' ? '9' : '7';
      break;
    case Value::Kind::string:
      v.text += random.pick(characters);
      break;
    case Value::Kind::array:
    case Value::Kind::object:
      if (!v.children.empty() && random.coin())
        v.children.pop_back();
      else
        v.children.emplace_back(v.kind == Value::Kind::object ? "new" : "", Value{});
  }
  if (v.kind == Value::Kind::word && v.text.empty()) v.text = "null";
}

// Value{} is null.
void settle_words(Value& v) {
  if (v.kind == Value::Kind::word && v.text.empty()) v.text = "null";
  for (auto& [name, child] : v.children) settle_words(child);
}

std::string spell_octets(Random& random, std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    char encoded[4];
    std::snprintf(encoded, sizeof encoded, random.coin() ? "%%%02x" : "%%%02X",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    if (plain && random.below(4) != 0)
      out += c;
    else if (c == ' ' && random.coin())
      out += '+';
    else
      out += encoded;
  }
  return out;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

// The pairs in an order that keeps equal names in theirs.
std::string spell_pairs(Random& random, Pairs pairs) {
  for (std::size_t round = 0; round < 2 * pairs.size(); ++round) {
    const auto i = random.below(static_cast<unsigned>(pairs.size()));
    if (i + 1 < pairs.size() && pairs[i].first != pairs[i + 1].first)
      std::swap(pairs[i], pairs[i + 1]);
  }
  std::string out;
  for (const auto& [name, value] : pairs) {
    while (random.below(6) == 0) out += '&';
    out += spell_octets(random, name) + "=" + spell_octets(random, value) + "&";
  }
  if (!out.empty() && random.coin()) out.pop_back();
  return out;
}

Pairs random_pairs(Random& random) {
  Pairs pairs;
  for (auto n = random.below(6); n > 0; --n)
    pairs.emplace_back(random.pick(std::vector<std::string>{"a", "b", "m[x]", "é", "a b"}),
                       random_text(random));
  return pairs;
}

// Changes what the pairs mean.
void change(Random& random, Pairs& pairs) {
  // Pairs of one name: their order is their meaning.
  for (std::size_t i = 1; i < pairs.size(); ++i)
    if (pairs[i].first == pairs[i - 1].first && pairs[i].second != pairs[i - 1].second &&
        random.coin())
      return std::swap(pairs[i], pairs[i - 1]);
  const auto choice = pairs.empty() ? 0 : random.below(4);
  if (choice == 0) {
    pairs.emplace_back("new", "");
    return;
  }
  const auto at = random.below(static_cast<unsigned>(pairs.size()));
  if (choice == 1)
    pairs.erase(pairs.begin() + at);
  else if (choice == 2)
    pairs[at].first += "x";
  else
    pairs[at].second += random.pick(characters);
}

// LEDGER_SEED repeats a failure; by default every run is the same.
unsigned first_seed() {
  const char* given = std::getenv("LEDGER_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 1;
}
constexpr unsigned runs = 1500;

}  // namespace

TEST_CASE("another spelling of JSON is the same call, another meaning is another") {
  for (auto seed = first_seed(); seed < first_seed() + runs; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    auto value = random_value(random, 4);
    settle_words(value);
    const auto first = spell(random, value), second = spell(random, value);
    CAPTURE(first);
    CAPTURE(second);
    REQUIRE(json(first).canonical().kind == "json");
    REQUIRE(json(first).fingerprint() == json(second).fingerprint());
    REQUIRE(json(json(first).canonical().bytes).fingerprint() == json(first).fingerprint());
    auto other = value;
    change(random, other);
    settle_words(other);
    const auto third = spell(random, other);
    CAPTURE(third);
    REQUIRE(json(third).canonical().kind == "json");
    REQUIRE(json(third).fingerprint() != json(first).fingerprint());
  }
}

TEST_CASE("drift of a float is the same call") {
  for (auto seed = first_seed(); seed < first_seed() + runs; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    // Amounts with cents, as sums of doubles come out: off in the 15th digit or later.
    const auto cents = random.below(1'000'000);
    char exact[32], drifted[64];
    std::snprintf(exact, sizeof exact, "%u.%02u", cents / 100, cents % 100);
    std::snprintf(drifted, sizeof drifted, "%.17g",
                  std::strtod(exact, nullptr) * (1 + (random.coin() ? 4e-16 : -4e-16)));
    CAPTURE(exact);
    CAPTURE(drifted);
    REQUIRE(json(exact).fingerprint() == json(drifted).fingerprint());
  }
}

TEST_CASE("another spelling of a form or a query is the same call, another meaning is another") {
  for (auto seed = first_seed(); seed < first_seed() + runs; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto pairs = random_pairs(random);
    auto other = pairs;
    change(random, other);
    const auto query = [&](const Pairs& p) {
      Case c;
      c.url = "http://h/?" + spell_pairs(random, p);
      return c.fingerprint();
    };
    REQUIRE(query(pairs) == query(pairs));
    REQUIRE(query(pairs) != query(other));
    const auto body = [&](const Pairs& p) {
      return form("&" + spell_pairs(random, p)).fingerprint();
    };
    REQUIRE(body(pairs) == body(pairs));
    REQUIRE(body(pairs) != body(other));
  }
}

TEST_CASE("bytes of any kind are taken, under any type") {
  const std::vector<std::string> types = {"application/json", "application/x-www-form-urlencoded",
                                          "multipart/form-data; boundary=b", "text/plain"};
  const std::vector<std::string> codings = {"", "gzip", "deflate"};
  const std::vector<std::string> pieces = {"{",           "}",
                                           "[",           "]",
                                           "\"",          "\\",
                                           "\\u",         "d800",
                                           ":",           ",",
                                           "1",           "-",
                                           "e9",          ".",
                                           "true",        " ",
                                           "\r\n",        "--b",
                                           "--",          "a=1",
                                           "&",           "%",
                                           "%4",          "\xff",
                                           "\xE2\x82",    "\x1f\x8b\x08",
                                           "\x78\x9c",    "Content-Disposition: form-data; name=\"",
                                           "; filename=", std::string(1, '\0')};
  for (auto seed = first_seed(); seed < first_seed() + runs; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Case c;
    for (auto n = random.below(30); n > 0; --n) c.body += random.pick(pieces);
    c.with("Content-Type", random.pick(types)).ignore("body:/*/a").ignore("form:a");
    if (const auto coding = random.pick(codings); !coding.empty())
      c.with("Content-Encoding", coding);
    REQUIRE(c.fingerprint() == c.fingerprint());
    c.unguarded_rpc();
  }
}

}  // namespace ledger::test
