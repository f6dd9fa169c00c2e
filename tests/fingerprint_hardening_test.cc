// What a sender could use against us: two readings of one body, and work out of proportion to it.
#include "fingerprint/number.h"
#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

// A multipart body of the boundary "x": the head and what follows it.
Case multipart(const std::string& head, const std::string& rest) {
  Case c;
  c.body = "--x\r\n" + head + "\r\n\r\n" + rest;
  return c.with("Content-Type", "multipart/form-data; boundary=x");
}
const std::string named = "Content-Disposition: form-data; name=a";

bool is_raw(const Case& c) {
  const auto canonical = c.canonical();
  return canonical.kind == "raw" && canonical.bytes == c.body;
}

}  // namespace

TEST_CASE("a line that only begins like the closing delimiter hides nothing behind it") {
  // Go's reader takes "--x--junk" for content and reads on; so what follows must be identity.
  for (const auto* line : {"--x--junk", "--x---", "--x-- junk"}) {
    CAPTURE(line);
    const auto body = [&](const std::string& more) {
      return multipart(named, std::string("1\r\n") + line + "\r\n" + more + "\r\n--x--\r\n");
    };
    CHECK(is_raw(body("pay 1")));
    CHECK(body("pay 1").fingerprint() != body("pay 2").fingerprint());
  }
  // Padding may follow a delimiter (RFC 2046 section 5.1.1), and an epilogue.
  const auto expected = multipart(named, "1\r\n--x--\r\n").fingerprint();
  for (const auto* end : {"--x--", "--x-- \t\r\n", "--x-- ", "--x--\r\nan epilogue"})
    CHECK(multipart(named, std::string("1\r\n") + end).fingerprint() == expected);
}

TEST_CASE("a folded header of a part is not taken for a field of its own") {
  const auto folded = [](const std::string& filename) {
    return multipart(named + ";\r\n filename=\"" + filename + "\"", "1\r\n--x--");
  };
  CHECK(is_raw(folded("a:b")));
  CHECK(is_raw(folded("ab")));
  CHECK(folded("a:b").fingerprint() != folded("a:c").fingerprint());
  CHECK(is_raw(multipart(": no name", "1\r\n--x--")));
  CHECK(is_raw(multipart("two words: v", "1\r\n--x--")));
}

TEST_CASE("a bare LF or CR hides no field, and no part") {
  // Some readers take it for the end of a line.
  for (const std::string end : {"\n", "\r"})
    CHECK(is_raw(multipart("X-Note: 1" + end + named, "1\r\n--x--")));
  auto c = multipart(named, "1\r\n--x--");
  c.body = "--x\n" + named + "\n\npay 1\n--x--\r\n" + c.body;
  CHECK(is_raw(c));
  c.body = "preamble\n" + c.body;
  CHECK(is_raw(c));
}

TEST_CASE("a part that has two names or two types is its exact bytes") {
  const std::string other = "content-disposition: form-data; name=b";
  CHECK(is_raw(multipart(named + "\r\n" + other, "1\r\n--x--")));
  CHECK(is_raw(multipart("Content-Type: a/b\r\ncontent-type: c/d", "1\r\n--x--")));
  CHECK_FALSE(is_raw(multipart(named + "\r\nX-Note: 1\r\nX-Note: 2", "1\r\n--x--")));
}

// These would run into the time limit of the whole test, were their work not linear.
TEST_CASE("a gzip file of very many members costs no more than its bytes") {
  auto file = deflated(std::string(std::size_t{4} * 1024 * 1024, 'x'), 31);
  const auto empty = deflated("", 31);
  for (int i = 0; i < 400'000; ++i) file += empty;
  const auto text = inflate_content("gzip", file, std::size_t{8} * 1024 * 1024);
  REQUIRE(text);
  CHECK(text->size() == std::size_t{4} * 1024 * 1024);
}

TEST_CASE(
    "a boundary is up to 70 octets long; with a longer or empty one the bytes are the identity") {
  const auto kind = [](const std::string& boundary) {
    Case c;
    c.body = "--" + boundary + "\r\n" + named + "\r\n\r\n1\r\n--" + boundary + "--\r\n";
    c.with("Content-Type", "multipart/form-data; boundary=\"" + boundary + "\"");
    const auto canonical = c.canonical();
    if (canonical.kind == "raw") CHECK(canonical.bytes == c.body);
    return canonical.kind;
  };
  CHECK(kind(std::string(69, '-') + "x") == "multipart");
  CHECK(kind(std::string(70, '-') + "x") == "raw");
  CHECK(kind("") == "raw");
}

TEST_CASE("a body of its boundary's beginnings costs no more than its bytes") {
  const std::string dashes(1024 * 1024, '-');
  for (const std::size_t length : {std::size_t{69}, std::size_t{300'000}}) {
    Case c;
    c.body = dashes + "\r\n--x";
    c.with("Content-Type", "multipart/form-data; boundary=" + std::string(length, '-') + "x");
    for (int i = 0; i < 10; ++i) CHECK(is_raw(c));
  }
}

TEST_CASE(
    "a probe's URL is not filled from a value that is encoded without end, nor a too long one") {
  const auto filled = [](const std::string& value) {
    const auto url = parse_key_template("https://h/find/${body:/id}");
    return json("{\"id\":\"" + value + "\"}").ask([&](const Call& c) {
      return fill_url_template(*url, c, {}, {});
    });
  };
  std::string endless = "%";
  for (int i = 0; i < 250'000; ++i) endless += "25";
  CHECK_FALSE(filled(endless));
  CHECK_FALSE(filled(endless.substr(0, 2001)));
  CHECK_FALSE(filled(std::string(8000, 'a')));
  CHECK(filled(std::string(7000, 'a')));
  CHECK(filled("100%25") == "https://h/find/100%2525");
  for (const auto* climbs : {"..", "%2e%2e", "a/%252e.;x", "a%5c.", "%25252e"})
    CHECK_FALSE(filled(climbs));
  CHECK(filled("a..b/c") == "https://h/find/a..b%2Fc");
}

TEST_CASE("numbers of huge exponents or of very many digits cost no more than their bytes") {
  const std::string digits(2'000'000, '9');
  for (const auto& text : {"1e999999999", "1e-999999999"}) {
    std::string out;
    append_number(out, text, true);
    CHECK(out == text);
    CHECK(plain_number(text, true) == text);
  }
  std::string carried;
  append_number(carried, digits + "." + digits, true);
  CHECK(carried == "1e2000000");
}

TEST_CASE("many members, patterns and pairs cost about what their bytes do") {
  std::string object = "{", pairs;
  for (int i = 0; i < 50'000; ++i) {
    // Keys that differ only at their end, in falling order.
    object += (i > 0 ? "," : "") + ("\"" + std::string(60, 'k') + std::to_string(99'999 - i));
    object += "\":[{\"at\":1}]";
    pairs += "k" + std::to_string(99'999 - i) + "=1&";
  }
  auto c = json(object + "}");
  c.url += "?" + pairs;
  for (int i = 0; i < 50; ++i) c.ignore("body:/*/*/at" + std::to_string(i));
  c.ignore("body:/*/*/at");
  CHECK(c.canonical().bytes.find("at") == std::string::npos);
  CHECK(c.fingerprint() == c.fingerprint());
  CHECK(form(pairs).fingerprint() == form(pairs).fingerprint());
}

TEST_CASE("the examples of RFC 3986 are one URL") {
  const auto normal = [](std::string_view text) {
    const auto url = parse_url(text);
    return url->origin() + url->path;
  };
  // Section 6.2.2, with a scheme of ours; 6.2.3; 5.2.4; 5.4.2's dots.
  CHECK(normal("hTTP://a/./b/../b/%63/%7bfoo%7d") == normal("http://a/b/c/%7Bfoo%7D"));
  CHECK(normal("HTTP://www.EXAMPLE.com/") == "http://www.example.com/");
  for (const auto* url : {"http://example.com", "http://example.com/", "http://example.com:/",
                          "http://example.com:80/"})
    CHECK(normal(url) == "http://example.com/");
  CHECK(normalise_path("/a/b/c/./../../g") == "/a/g");
  CHECK(normalise_path("/b/c/../../../../g") == "/g");
  CHECK(normalise_path("/b/c/g;x=1/../y") == "/b/c/y");
  CHECK(normalise_path("/b/c/g..") == "/b/c/g..");
}

TEST_CASE("an encoded delimiter is not the delimiter") {
  const auto at = [](std::string path) {
    Case c;
    c.url = "https://h" + std::move(path);
    return c.fingerprint();
  };
  CHECK(at("/a%2Fb") != at("/a/b"));
  CHECK(at("/a%2F..%2Fb") != at("/b"));
  CHECK(at("/a%3Fq=1") != at("/a?q=1"));
  CHECK(at("/%252e%252e/a") != at("/a"));  // decoded once
  CHECK(at("/?a=1%26b=2") != at("/?a=1&b=2"));
  CHECK(at("/?a%3D1=2") != at("/?a=1=2"));
}

TEST_CASE("what one field gives up, its neighbour cannot take") {
  const auto made = [](std::string method, std::string body, std::string shop) {
    Case c;
    c.method = std::move(method);
    c.body = std::move(body);
    c.rules.headers = {"X-Shop"};
    if (!shop.empty()) c.with("X-Shop", std::move(shop));
    return c.fingerprint();
  };
  CHECK(made("POST", "1x-shop", "") != made("POST", "", "1x-shop"));
  CHECK(made("POST", "a0", "") != made("POST", "a", ""));
  CHECK(made("POSThttps", "", "") != made("POST", "https", ""));
  // Of credentials too.
  const auto by = [](std::vector<std::pair<std::string, std::string>> headers) {
    auto c = json("{}");
    for (auto& h : headers) c.with(h.first, h.second);
    return c.fingerprint();
  };
  CHECK(by({{"X-Api-Key", "a9:x-api-key1:b"}}) != by({{"X-Api-Key", "a"}, {"X-Api-Key", "b"}}));
  CHECK(by({{"X-Api-Key", "a"}, {"X-Api-Key", "b"}}) !=
        by({{"X-Api-Key", "b"}, {"X-Api-Key", "a"}}));
}

TEST_CASE("of Basic and Bearer credentials the whole value is identity") {
  const auto by = [](std::string value) {
    return json("{}").with("Authorization", std::move(value)).fingerprint();
  };
  CHECK(by("Basic dXNlcjpwYXNz") == by("Basic dXNlcjpwYXNz"));
  CHECK(by("Basic dXNlcjpwYXNz") != by("Basic dXNlcjpwYXNy"));
  CHECK(by("Basic dXNlcjpwYXNz") != by("Bearer dXNlcjpwYXNz"));
  CHECK(by("Bearer Credential=a/1") != by("Bearer Credential=a/2"));  // not AWS: not cut
  CHECK(by("AWS4-HMAC-SHA256 nothing 1") != by("AWS4-HMAC-SHA256 nothing 2"));
}

}  // namespace ledger::test
