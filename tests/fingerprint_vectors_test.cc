// The vectors of docs/fingerprint.md and of others: JSONTestSuite, RFC 8785's test data.
#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "fingerprint/number.h"
#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

std::string from_hex_text(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

std::string to_hex_text(const std::string& bytes) {
  std::string out;
  for (const unsigned char byte : bytes)
    ((out += "0123456789abcdef"[byte >> 4]) += "0123456789abcdef"[byte & 15]);
  return out;
}

void read_rules(const nlohmann::json& in, Case& c) {
  c.rules.exact_floats = in.value("exact_floats", false);
  for (const auto& rule : in.value("ignore", std::vector<std::string>())) c.ignore(rule);
  c.rules.headers = in.value("headers", std::vector<std::string>());
  c.rules.credential_headers = in.value("credential_headers", std::vector<std::string>());
  if (in.contains("key")) c.key(in["key"].get<std::string>());
  if (in.contains("scope")) {
    c.rules.scope.clear();
    for (const auto& part : in["scope"])
      c.rules.scope.push_back(part == "agent" ? ScopePart::agent
                              : part == "run" ? ScopePart::run
                                              : ScopePart::credential);
  }
}

Case case_of(const nlohmann::json& vector, const std::string& secret) {
  const auto& call = vector["call"];
  Case c;
  c.secret = secret;
  c.method = call["method"];
  c.url = call["url"];
  for (const auto& h : call.value("headers", nlohmann::json::array())) c.with(h[0], h[1]);
  c.body = call.contains("body_hex") ? from_hex_text(call["body_hex"])
                                     : call.value("body", std::string());
  c.agent = call.value("agent", std::string());
  c.run = call.value("run", std::string());
  c.route = vector.value("route", std::string());
  for (const auto& p : vector.value("captures", nlohmann::json::array()))
    c.captures.emplace_back(p[0], p[1]);
  read_rules(vector.value("rules", nlohmann::json::object()), c);
  return c;
}

std::string canonical_json(const std::string& text) {
  const auto document = JsonDocument::parse(text);
  return document ? document->canonical(true) : "not canonical: " + document.error();
}

}  // namespace

TEST_CASE("the published vectors hold, and the document shows them") {
  const auto vectors = nlohmann::json::parse(read_vector("fingerprint_v1.json"));
  const auto document = read_vector("../../docs/fingerprint.md");
  REQUIRE(vectors["calls"].size() > 30);
  std::map<std::string, std::string> known;
  for (const auto& vector : vectors["calls"]) {
    const std::string name = vector["name"];
    CAPTURE(name);
    const auto& expect = vector["expect"];
    const auto c = case_of(vector, vectors["secret"]);
    const auto canonical = c.canonical();
    CHECK(canonical.kind == expect["kind"].get<std::string>());
    CHECK(to_hex_text(canonical.bytes) == expect["canonical_hex"].get<std::string>());
    const auto identity = c.identity();
    CHECK(to_hex(identity.fingerprint) == expect["fingerprint"].get<std::string>());
    CHECK(to_hex(identity.id) == expect["id"].get<std::string>());
    CHECK(to_string(identity.source) == expect["key_source"].get<std::string>());
    CHECK(identity.key == expect["key"].get<std::string>());
    CHECK(document.find(to_hex(identity.fingerprint)) != std::string::npos);
    CHECK(document.find(to_hex(identity.id)) != std::string::npos);
    known[name] = to_hex(identity.fingerprint);
    if (vector.contains("same_as")) CHECK(known[name] == known[vector["same_as"]]);
  }
}

TEST_CASE("numbers are what a decimal arithmetic of another make says they are") {
  const auto vectors = nlohmann::json::parse(read_vector("fingerprint_v1.json"));
  REQUIRE(vectors["numbers"].size() > 200);
  for (const auto& vector : vectors["numbers"]) {
    const std::string text = vector[0];
    CAPTURE(text);
    REQUIRE(is_canonical_number(text) == !vector[1].is_null());
    if (vector[1].is_null()) continue;
    std::string rounded, exact;
    append_number(rounded, text, true);
    append_number(exact, text, false);
    CHECK(rounded == vector[1].get<std::string>());
    CHECK(exact == vector[2].get<std::string>());
  }
}

TEST_CASE("every text of JSONTestSuite is read or refused as it must be") {
  // Valid by RFC 8259's grammar, but ambiguous: a repeated key means different things to different
  // readers.
  const std::set<std::string> refused_though_valid = {"y_object_duplicated_key.json",
                                                      "y_object_duplicated_key_and_value.json"};
  // Where the grammar leaves it open ("i_"), these are read; the rest is refused (invalid UTF-8,
  // lone surrogates, byte order marks, deep nesting, exponents of more than nine digits).
  const std::set<std::string> read_though_open = {
      "i_number_double_huge_neg_exp.json",   "i_number_neg_int_huge_exp.json",
      "i_number_pos_double_huge_exp.json",   "i_number_real_neg_overflow.json",
      "i_number_real_pos_overflow.json",     "i_number_real_underflow.json",
      "i_number_too_big_neg_int.json",       "i_number_too_big_pos_int.json",
      "i_number_very_big_negative_int.json",
  };
  std::size_t count = 0;
  const auto folder = std::string(LEDGER_SOURCE_DIR) + "/tests/vectors/jsontestsuite/test_parsing";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const auto name = file.path().filename().string();
    CAPTURE(name);
    const bool read =
        JsonDocument::parse(read_vector("jsontestsuite/test_parsing/" + name)).has_value();
    CHECK(read == ((name[0] == 'y' && !refused_though_valid.contains(name)) ||
                   read_though_open.contains(name)));
    ++count;
  }
  CHECK(count == 316);
  // The two long ones of the suite, made here.
  CHECK_FALSE(JsonDocument::parse(std::string(100'000, '[')));
  std::string nested;
  for (int i = 0; i < 50'000; ++i) nested += "[{\"\":";
  CHECK_FALSE(JsonDocument::parse(nested));
}

TEST_CASE("a text of JSONTestSuite that is read keeps its meaning") {
  const auto folder = std::string(LEDGER_SOURCE_DIR) + "/tests/vectors/jsontestsuite/test_parsing";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const auto name = file.path().filename().string();
    CAPTURE(name);
    const auto text = read_vector("jsontestsuite/test_parsing/" + name);
    const auto document = JsonDocument::parse(text);
    if (!document) continue;
    const auto canonical = document->canonical(false);
    CHECK(canonical_json(canonical) == document->canonical(true));  // it is JSON, and a fixed point
    const auto before = nlohmann::json::parse(text, nullptr, false);
    if (before.is_discarded()) continue;  // a number beyond double
    CHECK(nlohmann::json::parse(canonical) == before);
  }
}

TEST_CASE("RFC 8785's pairs come out as they must, but for the spelling of numbers") {
  // The numbers of each pair's output, as RFC 8785 and as we spell them.
  const std::map<std::string, std::vector<std::pair<std::string, std::string>>> spellings = {
      {"arrays", {{"56", "56e0"}}},
      {"structures", {{":5,", ":5e0,"}, {":5}", ":5e0}"}, {":56", ":56e0"}}},
      // RFC 8785 sends 333333333.33333329 through a double; we do not.
      {"values", {{"333333333.3333333,1e+30,4.5,0.002", "33333333333333329e-8,1e30,45e-1,2e-3"}}}};
  const auto respelled = [&](const std::string& name, std::string text) {
    const auto found = spellings.find(name);
    if (found == spellings.end()) return text;
    for (const auto& [from, to] : found->second)
      if (const auto at = text.find(from); at != text.npos) text.replace(at, from.size(), to);
    return text;
  };
  for (const std::string name : {"arrays", "french", "structures", "unicode", "values", "weird"}) {
    CAPTURE(name);
    const auto expected = read_vector("jcs/output/" + name + ".json");
    CHECK(canonical_json(read_vector("jcs/input/" + name + ".json")) == respelled(name, expected));
    if (name != "values")  // its own output means the same
      CHECK(canonical_json(expected) == canonical_json(read_vector("jcs/input/" + name + ".json")));
  }
}

namespace {

// [-]digits[.digits][e[+-]digits] as other writers put it.
std::vector<std::string> spellings_of(const std::string& text) {
  const std::string sign = text[0] == '-' ? "-" : "";
  const auto e = std::min(text.find('e'), text.size());
  auto digits = text.substr(sign.size(), e - sign.size());
  long exponent = e == text.size() ? 0 : std::stol(text.substr(e + 1));
  if (const auto point = digits.find('.'); point != digits.npos) {
    exponent -= static_cast<long>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  const auto size = static_cast<long>(digits.size());
  const auto padded = [](long n) { return (n < 0 ? "-00" : "+00") + std::to_string(std::abs(n)); };
  return {sign + digits + "e" + std::to_string(exponent),
          sign + digits + "000E" + std::to_string(exponent - 3),
          sign + "0." + digits + "e" + padded(exponent + size),
          sign + "0.0000" + digits + "00E" + padded(exponent + size + 4),
          sign + digits.substr(0, 1) + "." + digits.substr(1) + "0e" +
              std::to_string(exponent + size - 1)};
}

}  // namespace

TEST_CASE("a double of RFC 8785's list is one number however it is spelled") {
  std::istringstream lines(read_vector("jcs/es6numbers-1000.txt"));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto text = line.substr(line.find(',') + 1);
    CAPTURE(text);
    for (const bool round : {false, true}) {
      std::string expected;
      append_number(expected, text, round);
      for (const auto& spelling : spellings_of(text)) {
        CAPTURE(spelling);
        std::string found;
        append_number(found, spelling, round);
        CHECK(found == expected);
      }
    }
    if (text.find('e') == text.npos) CHECK(plain_number(text, false) == text);
    ++count;
  }
  CHECK(count == 1000);
}

}  // namespace ledger::test
