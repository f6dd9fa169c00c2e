#include <doctest/doctest.h>

#include "fingerprint/digest.h"
#include "fingerprint/url.h"

namespace ledger {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string normal(std::string_view url) {
  const auto parsed = parse_url(url);
  return parsed ? parsed->to_string() : "not a URL: " + parsed.error();
}

}  // namespace

TEST_CASE("a URL's scheme, host and default port have one spelling") {
  CHECK(normal("http://example.com") == "http://example.com/");
  CHECK(normal("HTTP://EXAMPLE.com:80/A") == "http://example.com/A");
  CHECK(normal("https://example.com:443/") == "https://example.com/");
  CHECK(normal("https://example.com:/") == "https://example.com/");
  CHECK(normal("https://example.com:0443/") == "https://example.com/");
  CHECK(normal("https://example.com:80/") == "https://example.com:80/");
  CHECK(normal("http://[2001:DB8::1]:8080/x") == "http://[2001:db8::1]:8080/x");
  CHECK(normal("http://[::1]") == "http://[::1]/");
  CHECK(normal("http://bücher.example/") == "http://bücher.example/");
  CHECK(normal("http://h/p#fragment?no") == "http://h/p");
  CHECK(normal("http://h?q=/a/../b") == "http://h/?q=/a/../b");
  CHECK(normal("http://h/?") == "http://h/?");
  CHECK(parse_url("https://h/")->port_number() == 443);
  CHECK(parse_url("http://h/")->port_number() == 80);
  CHECK(parse_url("http://h:65535/")->port_number() == 65535);
  CHECK(parse_url("http://h:81/a?b")->origin() == "http://h:81");
}

TEST_CASE("what is no absolute http URL is refused with a sentence") {
  for (const auto* url : {"",
                          "example.com",
                          "/path",
                          "ftp://h/",
                          "http:/h",
                          "http://",
                          "http:///p",
                          "http://:80/",
                          "http://u@h/",
                          "http://u:p@h/",
                          "http://h:0/",
                          "http://h:65536/",
                          "http://h:8 0/",
                          "http://h:-1/",
                          "http://h:+1/",
                          "http://h:80x/",
                          "http://::1/",
                          "http://[::1/",
                          "http://[]/",
                          "http://[g::1]/",
                          "http://[::1]x/",
                          "http://h\\x/",
                          "http://h\"/",
                          "http://h/a b",
                          "http://h/\n",
                          "http://h/\x7f",
                          "x?u=http://h/"}) {
    CAPTURE(url);
    const auto parsed = parse_url(url);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().size() > 10);
  }
}

TEST_CASE("a path's own spelling is kept for sending") {
  const auto url = parse_url("http://x/%7euser/a%2fb");
  CHECK(url->path == "/~user/a%2Fb");
  CHECK(url->spelled_path() == "/%7euser/a%2fb");
  CHECK(url->to_string() == "http://x/%7euser/a%2fb");
  const auto dotted = parse_url("http://x/a/./b/../%7euser/.");
  CHECK(dotted->path == "/a/~user/");
  CHECK(dotted->spelled_path() == "/a/./b/../%7euser/.");
  CHECK(parse_url("http://x")->spelled_path() == "/");
}

TEST_CASE("a host has no final dot, and no empty label") {
  CHECK(normal("http://Example.com.:81/a") == "http://example.com:81/a");
  CHECK(parse_url("https://api.example.com./")->origin() == "https://api.example.com");
  for (const auto* url : {"http://./", "http://../", "http://a../", "http://a..b/", "http://.a/"}) {
    CAPTURE(url);
    CHECK_FALSE(parse_url(url));
  }
}

TEST_CASE("a path that leads out of where it begins is told, however a server reads it") {
  for (const auto* path : {"/..", "/../x", "/a/../..", "/%2e%2E/x", "/.%2e/x", "/..%2fx", "/..%5Cx",
                           "/..\\x", "/a//../../x", "/a/./../../x", "/..;/x", "/..;a=b/x", ".."}) {
    CAPTURE(path);
    CHECK(climbs_out(path));
  }
  for (const auto* path :
       {"", "/", "/a/..", "/a/../b", "/a/b/../../c", "/...", "/..a", "/a..", "/.", "/a%2f../b"}) {
    CAPTURE(path);
    CHECK_FALSE(climbs_out(path));
  }
}

TEST_CASE("a path is normalised as RFC 3986 section 6.2.2 says") {
  CHECK(normalise_path("") == "/");
  CHECK(normalise_path("/%7Euser/%41%2d%2E%5f") == "/~user/A-._");
  CHECK(normalise_path("/a%2fb%3f%c3%a9") == "/a%2Fb%3F%C3%A9");  // reserved stay encoded
  CHECK(normalise_path("/a/./b/../c") == "/a/c");
  CHECK(normalise_path("/a/b/..") == "/a/");
  CHECK(normalise_path("/a/b/.") == "/a/b/");
  CHECK(normalise_path("/..") == "/");
  CHECK(normalise_path("/../../a") == "/a");
  CHECK(normalise_path("/%2e%2E/a/%2e/b") == "/a/b");
  CHECK(normalise_path("/a//b/") == "/a//b/");  // empty segments mean something
  CHECK(normalise_path("/a//../b") == "/a/b");
  CHECK(normalise_path("/...") == "/...");
  CHECK(normalise_path("/.a/..b") == "/.a/..b");
  CHECK(normalise_path("/100%/%zz/%4") == "/100%/%zz/%4");  // malformed stays
  // and stays malformed: an upstream that decodes must not find what was not there
  CHECK(normalise_path("/%%32%65%2%65/%%32g%67") == "/%%32e%2%65/%%32gg");
  CHECK(normalise_path("/Case") == "/Case");
}

TEST_CASE("percent-decoding leaves malformed text as it is") {
  CHECK(percent_decode("a%20b+c%2B", true) == "a b c+");
  CHECK(percent_decode("a%20b+c", false) == "a b+c");
  CHECK(percent_decode("%", true) == "%");
  CHECK(percent_decode("%4", true) == "%4");
  CHECK(percent_decode("%4g%41", true) == "%4gA");
  CHECK(percent_decode("%00", true) == std::string(1, '\0'));
}

TEST_CASE("pairs are decoded in their order; empty pieces are none") {
  CHECK(parse_pairs("") == Pairs{});
  CHECK(parse_pairs("&&") == Pairs{});
  CHECK(parse_pairs("b=2&a=1&b=1") == Pairs{{"b", "2"}, {"a", "1"}, {"b", "1"}});
  CHECK(parse_pairs("flag&=v&x==") == Pairs{{"flag", ""}, {"", "v"}, {"x", "="}});
  CHECK(parse_pairs("m%5Bt%5D=a+b%26c&") == Pairs{{"m[t]", "a b&c"}});
}

TEST_CASE("digests are those of FIPS 180-4 and RFC 4231, and hex goes both ways") {
  const auto hmac = [](std::string_view key, std::string_view data) {
    return to_hex(hmac_sha256(key, data));
  };
  CHECK(hmac(std::string(20, '\x0b'), "Hi There") ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(hmac("Jefe", "what do ya want for nothing?") ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(hmac(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First") ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  FieldHash hash;
  const auto nothing = hash.finish();
  CHECK(to_hex(nothing) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(from_hex(to_hex(nothing)) == nothing);
  CHECK(from_hex("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855") == nothing);
  CHECK_FALSE(from_hex("e3b0"));
  CHECK_FALSE(from_hex(std::string(64, 'g')));
}

TEST_CASE("no two lists of fields have one digest, whatever the sizes of the fields") {
  FieldHash hash;
  CHECK(hash.add("ab").add("c").finish() != hash.add("a").add("bc").finish());
  CHECK(hash.add("").add("a").finish() != hash.add("a").add("").finish());
  CHECK(hash.add("a").finish() == hash.add("a").finish());  // it starts anew
  // Across the sizes at which fields are gathered, or go to the hash at once.
  for (std::size_t size = 480; size < 530; ++size) {
    CAPTURE(size);
    const std::string field(size, 'x');
    const auto whole = hash.add(field).add("tail").finish();
    CHECK(whole != hash.add(field + "x").add("tail").finish());
    CHECK(whole == hash.add(field).add(std::string("tail")).finish());
    std::string flat;
    for (const auto& f : {field, std::string("tail")}) {
      for (int shift = 56; shift >= 0; shift -= 8)
        flat += static_cast<char>(static_cast<unsigned char>(f.size() >> shift));
      flat += f;
    }
    // The same bytes as one field differ only by that field's own length.
    CHECK(whole != hash.add(flat).finish());
  }
}

}  // namespace ledger
