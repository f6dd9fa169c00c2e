// A JSON body: its canonical text means what it meant, and every other spelling of it leads there.
#include "fingerprint/json.h"

#include <nlohmann/json.hpp>

#include "fingerprint/number.h"
#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

constexpr bool exact = false, rounded = true;

std::string canonical_number(std::string_view text, bool round) {
  std::string out;
  append_number(out, text, round);
  return out;
}

std::string respelled_string(std::string_view text) {
  constexpr char hex[] = "0123456789aBcDeF";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && c != ' ')
      ((out += "\\u00") += hex[byte >> 4]) += hex[byte & 15];
    else
      out += c;
  }
  return out += '"';
}

std::string respelled_number(std::string_view text) {
  const auto plain = plain_number(text, rounded);
  CHECK(canonical_number(plain, rounded) == canonical_number(text, rounded));
  std::string out(text);
  if (text.find_first_of("eE") != text.npos) return out;
  return out += text.find('.') == text.npos ? ".0E+00" : "00e-0";
}

// The same document, its members the other way round.
std::string respelled(const JsonDocument& document, const JsonNode& node) {
  using Kind = JsonNode::Kind;
  if (node.kind == Kind::string) return respelled_string(node.text);
  if (node.kind == Kind::number) return respelled_number(node.text);
  if (node.kind != Kind::array && node.kind != Kind::object)
    return node.kind == Kind::null ? "null" : *node.scalar(exact);
  const bool object = node.kind == Kind::object;
  std::string inside;
  for (const auto* child = document.first_child(node); child != nullptr;
       child = document.next(*child)) {
    auto item =
        (object ? respelled_string(child->key) + "\t:\r\n" : "") + respelled(document, *child);
    if (inside.empty())
      inside = std::move(item);
    else
      inside = object ? item + " ," + inside : inside + ", " + item;
  }
  return (object ? "{ " : "[\n") + inside + (object ? "}" : " ]");
}

std::string canonical(std::string_view text, bool round) {
  const auto document = JsonDocument::parse(text);
  REQUIRE_MESSAGE(document, text);
  return document->canonical(round);
}

// What another reader makes of it; numbers beyond a double are beyond it, and a NUL it takes for
// the end.
void compare(std::string_view text, const tl::expected<JsonDocument, std::string>& document) {
  if (text.find('\0') != text.npos) return;
  nlohmann::json other;
  try {
    other = nlohmann::json::parse(text);
  } catch (const nlohmann::json::out_of_range&) {
    return;
  } catch (const nlohmann::json::parse_error&) {
    CHECK(!document);
    return;
  }
  if (document) {
    CHECK(nlohmann::json::parse(document->canonical(exact)) == other);
    return;
  }
  const bool is_named = document.error() == "a repeated key" ||
                        document.error() == "nesting deeper than 128" ||
                        document.error() == "an exponent of more than nine digits" ||
                        text.starts_with("\xEF\xBB\xBF");
  CHECK_MESSAGE(is_named, document.error());
}

void check(std::string_view text) {
  const auto document = JsonDocument::parse(text);
  compare(text, document);
  if (!document) return;
  for (const bool round : {exact, rounded}) {
    const auto made = document->canonical(round);
    CHECK(canonical(made, round) == made);
    CHECK(canonical(respelled(*document, *document->root()), round) == made);
  }
  // Rounding can be done late.
  CHECK(canonical(document->canonical(exact), rounded) == document->canonical(rounded));
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
