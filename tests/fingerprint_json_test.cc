#include "fingerprint/json.h"
#include "fingerprint/number.h"
#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

std::string canonical(std::string_view text, bool round = true) {
  const auto document = JsonDocument::parse(text);
  return document ? document->canonical(round) : "not canonical: " + document.error();
}

bool refused(std::string_view text) { return !JsonDocument::parse(text); }

std::string number(std::string_view text, bool round = true) {
  std::string out;
  append_number(out, text, round);
  return out;
}

std::string without(std::string_view text, std::vector<std::string> pointers) {
  std::vector<IgnoreRule> rules;
  for (const auto& pointer : pointers) rules.push_back(*parse_ignore("body:" + pointer));
  std::vector<const JsonPattern*> patterns;
  for (const auto& rule : rules) patterns.push_back(&rule.pattern);
  return JsonDocument::parse(text)->canonical(true, patterns);
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("spellings of one number are one") {
  for (const auto* text : {"49", "49.0", "4.9e1", "490e-1", "0.49E+2", "49e0", "49.000e-0"})
    CHECK(number(text) == "49e0");
  for (const auto* text : {"0", "-0", "0.0", "-0.00e7", "0e99999999999999999999"})
    CHECK(number(text) == "0");
  CHECK(number("1e400") == number("10e399"));
  CHECK(number("-120") == "-12e1");
}

TEST_CASE("integers are exact at any length") {
  CHECK(number("9007199254740993") != number("9007199254740992"));
  const std::string long_one(5000, '7');
  CHECK(number(long_one) == long_one + "e0");
  CHECK(number(long_one + ".0") == long_one + "e0");
  CHECK(number("12345678901234567890123456e-5") == "12345678901234567890123456e-5");
}

TEST_CASE("a fraction is rounded half-even to 8 digits after the point") {
  CHECK(number("1.123456785") == "112345678e-8");  // half, to the even digit
  CHECK(number("1.123456775") == "112345678e-8");  // half, up to the even digit
  CHECK(number("1.1234567850000001") == "112345679e-8");
  CHECK(number("-1.123456775") == "-112345678e-8");
  CHECK(number("19.990000000000002") == "1999e-2");
  CHECK(number("1.000000005") == "1e0");
  CHECK(number("99999999.999999995") == "1e8");
  CHECK(number("12345678901234567890.123456785") == "1234567890123456789012345678e-8");
}

TEST_CASE("below one, 8 digits after the leading zeros stay") {
  CHECK(number("0.30000000000000004") == "3e-1");
  CHECK(number("0.000000001") == "1e-9");
  CHECK(number("0.00000000123456785") == "12345678e-16");
  CHECK(number("0.00000000123456775") == "12345678e-16");
  CHECK(number("0.09999999999") == "1e-1");  // a carry over the leading zero
  CHECK(number("0.999999995") == "1e0");     // and over the point
  CHECK(number("0.999999985") == "99999998e-8");
  CHECK(number("5e-324") == "5e-324");
  CHECK(number("-123456789e-400000") == "-12345679e-399999");
}

TEST_CASE("float_digits: exact rounds nothing") {
  CHECK(number("0.30000000000000004", false) == "30000000000000004e-17");
  CHECK(number("1.0000000000000000000001", false) != number("1", false));
  CHECK(canonical("[0.1000000001]", false) != canonical("[0.1]", false));
}

TEST_CASE("no exponent is expanded, and one of more than nine digits is not canonical") {
  CHECK(number("1e999999999") == "1e999999999");
  CHECK(number("1.5e-999999998") == "15e-999999999");
  CHECK(number("0.1e1000000000") == "1e999999999");  // what counts is the value
  CHECK(canonical("[1e999999999]") == "[1e999999999]");
  for (const auto* text : {"1e1000000000", "10e999999999", "1e-1000000000", "1.5e-999999999",
                           "-1e99999999999999999999999999", "1e-99999999999999999999999999"}) {
    CAPTURE(text);
    CHECK_FALSE(is_canonical_number(text));
    CHECK(refused(text));
  }
}

TEST_CASE("numbers are told to people without an exponent, unless it takes many zeros") {
  CHECK(plain_number("4.20e1", true) == "42");
  CHECK(plain_number("-4.5", true) == "-4.5");
  CHECK(plain_number("5e-2", true) == "0.05");
  CHECK(plain_number("-0.0", true) == "0");
  CHECK(plain_number("1e18", true) == "1000000000000000000");
  CHECK(plain_number("1e19", true) == "1e19");
  CHECK(plain_number("1e-18", true) == "0.000000000000000001");
  CHECK(plain_number("1e-19", true) == "1e-19");
  CHECK(plain_number("0.30000000000000004", true) == "0.3");
  CHECK(plain_number("0.30000000000000004", false) == "0.30000000000000004");
}

TEST_CASE("order of members and white space mean nothing; order of elements does") {
  CHECK(canonical(" { \"b\" : [ 1 , 2 ] ,\r\n\t\"a\" : null } ") == R"({"a":null,"b":[1e0,2e0]})");
  CHECK(canonical("[1,2]") != canonical("[2,1]"));
  CHECK(canonical("{}") == "{}");
  CHECK(canonical("[ ]") == "[]");
  CHECK(canonical("true") == "true");
}

TEST_CASE("strings have the fewest escapes, and are not normalised") {
  CHECK(canonical(R"("\u0041\/\u007f")") == "\"A/\x7f\"");
  CHECK(canonical(R"("\u0000\u001F\b\f\n\r\t\"\\")") == R"("\u0000\u001f\b\f\n\r\t\"\\")");
  CHECK(canonical(R"("\uD83D\ude02")") == "\"\xF0\x9F\x98\x82\"");
  CHECK(canonical(R"("\u00e9")") == "\"\xC3\xA9\"");
  CHECK(canonical(R"("e\u0301")") != canonical(R"("\u00e9")"));
  CHECK(canonical(R"(["a\u0062c","\u0064","e"])") == R"(["abc","d","e"])");
}

TEST_CASE("members are sorted by UTF-16 code units") {
  CHECK(canonical(R"({"\ufb33":1,"\ud83d\ude02":2,"\u20ac":3,"a":4,"":5,"aa":6,"A":7})") ==
        "{\"\":5e0,\"A\":7e0,\"a\":4e0,\"aa\":6e0,\"\xE2\x82\xAC\":3e0,\"\xF0\x9F\x98\x82\":2e0,"
        "\"\xEF\xAC\xB3\":1e0}");
}

TEST_CASE("a repeated key is not canonical, however it is escaped") {
  CHECK(refused(R"({"a":1,"a":1})"));
  CHECK(refused(R"({"a":1,"b":2,"\u0061":3})"));
  CHECK(refused(R"([{"x":{"k":1,"k":2}}])"));
  CHECK_FALSE(refused(R"({"a":{"a":1},"b":{"a":1}})"));
}

TEST_CASE("invalid UTF-8 and lone surrogates are not canonical") {
  for (const std::string bytes :
       {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xFF",
        "\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud800\\ud800", "\\udc00\\ud800", "\\ud800x"}) {
    CAPTURE(bytes);
    CHECK(refused("\"" + bytes + "\""));
    CHECK(refused("{\"" + bytes + "\":1}"));
  }
  CHECK_FALSE(refused("\"\xC2\x80 \xED\x9F\xBF \xEE\x80\x80 \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\""));
}

TEST_CASE("a byte order mark is not canonical") {
  CHECK(refused("\xEF\xBB\xBF{}"));
  CHECK(refused(std::string("\xFE\xFF\0{\0}", 6)));
}

TEST_CASE("nesting of 128 is read, of 129 is not") {
  CHECK(canonical(nested(128)) == nested(128));
  CHECK(refused(nested(129)));
  std::string objects;
  for (int i = 0; i < 128; ++i) objects += "{\"a\":";
  CHECK_FALSE(refused(objects + "1" + std::string(128, '}')));
  CHECK(refused("[" + objects + "1" + std::string(128, '}') + "]"));
}

TEST_CASE("an object of very many members is read in good time") {
  std::string text = "{", expected = "{";
  constexpr int count = 100'000;
  for (int i = 0; i < count; ++i) {
    text += (i > 0 ? "," : "") + ("\"" + std::to_string(2 * count - i)) + "\":0";
    expected += (i > 0 ? "," : "") + ("\"" + std::to_string(count + 1 + i)) + "\":0";
  }
  // 100001 … 199999 sort as they count; 200000 comes last.
  CHECK(canonical(text + "}") == expected + "}");
  CHECK(refused(text + ",\"150000\":0}"));
}

TEST_CASE("an ignored pointer leaves out what it names") {
  CHECK(without(R"({"a":1,"b":2})", {"/a"}) == R"({"b":2e0})");
  CHECK(without(R"({"a":{"b":1,"c":2}})", {"/a/b"}) == R"({"a":{"c":2e0}})");
  CHECK(without(R"({"a":[1,2,3]})", {"/a/1"}) == R"({"a":[1e0,3e0]})");
  CHECK(without(R"({"a":[1,2,3]})", {"/a/01", "/a/-", "/a/3"}) == R"({"a":[1e0,2e0,3e0]})");
  CHECK(without(R"({"a/b":1,"m~n":2,"":3,"c":4})", {"/a~1b", "/m~0n", "/"}) == R"({"c":4e0})");
  CHECK(without(R"({"0":1,"c":2})", {"/0"}) == R"({"c":2e0})");
  CHECK(without(R"({"a":1})", {"/b", "/a/b/c"}) == R"({"a":1e0})");
  CHECK(without("[[1],[2]]", {"/0/0", "/1"}) == "[[]]");
}

TEST_CASE("a star matches one segment, be it a member or an element") {
  const auto text =
      R"({"items":[{"id":1,"at":2},{"id":3,"at":4}],"more":{"x":{"at":5,"y":{"at":6}}}})";
  CHECK(without(text, {"/items/*/at", "/more/*/at"}) ==
        R"({"items":[{"id":1e0},{"id":3e0}],"more":{"x":{"y":{"at":6e0}}}})");
  CHECK(without(text, {"/*/*/at"}) == without(text, {"/items/*/at", "/more/x/at"}));
  CHECK(without(text, {"/*"}) == "{}");
  CHECK(without(R"({"*":1,"a*":2})", {"/a*"}) == R"({"*":1e0})");
}

TEST_CASE("a pointer names a scalar for a key template") {
  const std::string text =
      R"({"s":"a\nb","n":42.0,"f":4.5,"t":true,"x":null,"o":{"k":["v",{"w":1}]},"a/b":"c"})";
  const auto document = JsonDocument::parse(text);
  const auto scalar = [&](std::string_view pointer) {
    const auto* node = document->at(pointer);
    return node != nullptr ? node->scalar(true) : std::nullopt;
  };
  CHECK(scalar("/s") == "a\nb");
  CHECK(scalar("/n") == "42");
  CHECK(scalar("/f") == "4.5");
  CHECK(scalar("/t") == "true");
  CHECK(scalar("/o/k/0") == "v");
  CHECK(scalar("/o/k/1/w") == "1");
  CHECK(scalar("/a~1b") == "c");
  for (const auto* pointer : {"", "/x", "/o", "/o/k", "/o/k/2", "/o/k/00", "/none", "/s/0", "s"})
    CHECK_FALSE(scalar(pointer));
}

}  // namespace ledger::test
