// Lists of hosts, and where calls may go.
#include <doctest/doctest.h>

#include "config/egress.h"

namespace ledger {
namespace {

HostRule rule(std::string_view text) {
  auto parsed = HostRule::parse(text);
  REQUIRE_MESSAGE(parsed, text);
  return *parsed;
}

std::vector<HostRule> rules(std::initializer_list<std::string_view> texts) {
  std::vector<HostRule> all;
  for (const auto text : texts) all.push_back(rule(text));
  return all;
}

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

}  // namespace

TEST_CASE("an address has one meaning, however it is spelled") {
  for (const auto* text :
       {"127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "::ffff:7f00:1"}) {
    CAPTURE(text);
    CHECK(ip(text) == ip("127.0.0.1"));
    CHECK(ip(text).is_v4());
    CHECK(ip(text).is_loopback());
  }
  CHECK(ip("::1").is_loopback());
  CHECK_FALSE(ip("::1").is_v4());
  CHECK(ip("0.0.0.0").is_unspecified());
  CHECK(ip("[::]").is_unspecified());
  for (const auto* text : {"", "x", "localhost", "1.2.3.4.5", "256.1.1.1", ":", "[", "[]"}) {
    CAPTURE(text);
    CHECK_FALSE(IpAddress::parse(text));
  }
  CHECK(*ip("64:ff9b::a00:1").embedded() == ip("10.0.0.1"));
  CHECK(*ip("64:ff9b:1::a00:1").embedded() == ip("10.0.0.1"));
  CHECK(*ip("2002:a00:1::5").embedded() == ip("10.0.0.1"));
  CHECK(*ip("::10.0.0.1").embedded() == ip("10.0.0.1"));
  for (const auto* text : {"::1", "::", "10.0.0.1", "2001:db8::1"})
    CHECK_FALSE(ip(text).embedded());
}

TEST_CASE("an address is in a network of its own family") {
  CHECK(ip("10.255.0.1").is_in(ip("10.0.0.0"), 8));
  CHECK_FALSE(ip("11.0.0.1").is_in(ip("10.0.0.0"), 8));
  CHECK(ip("10.0.0.129").is_in(ip("10.0.0.128"), 25));
  CHECK_FALSE(ip("10.0.0.127").is_in(ip("10.0.0.128"), 25));
  CHECK(ip("1.2.3.4").is_in(ip("0.0.0.0"), 0));
  CHECK_FALSE(ip("1.2.3.4").is_in(ip("::"), 0));
  CHECK(ip("fe80::1").is_in(ip("fe80::"), 10));
  CHECK(ip("febf::1").is_in(ip("fe80::"), 10));
  CHECK_FALSE(ip("fec0::1").is_in(ip("fe80::"), 10));
  CHECK(ip("fd00::1").is_in(ip("fd00::1"), 128));
}

TEST_CASE("an entry takes what it names, at its port") {
  CHECK(rule("Api.Example.com.").takes("api.example.com", 1));
  CHECK_FALSE(rule("api.example.com").takes("x.api.example.com", 1));
  CHECK(rule("*.example.com").takes("a.b.example.com", 1));
  CHECK_FALSE(rule("*.example.com").takes("example.com", 1));
  CHECK_FALSE(rule("*.example.com").takes("badexample.com", 1));
  CHECK(rule("h:81").takes("h", 81));
  CHECK_FALSE(rule("h:81").takes("h", 80));
  for (const auto* text : {"25", ":25", "*:25"}) {
    CHECK(rule(text).takes("whoever", 25));
    CHECK_FALSE(rule(text).takes("whoever", 26));
  }
  CHECK(rule("*").takes("whoever", 1));
  CHECK(rule("10.0.0.0/8").takes("[::ffff:10.1.2.3]", 1));
  CHECK(rule("10.0.0.0/8:81").takes("10.1.2.3", 81));
  CHECK_FALSE(rule("10.0.0.0/8:81").takes("10.1.2.3", 80));
  CHECK(rule("10.0.0.1").takes("167772161", 1));
  CHECK_FALSE(rule("10.0.0.0/8").takes("ten.example", 1));
  for (const auto* text : {"fd00::/8", "[fd00::]/8", "[fd00::/8]"})
    CHECK(rule(text).takes("[fd12::1]", 1));
  for (const auto* text : {"[fd00::]/8:81", "[fd00::/8]:81"}) {
    CHECK(rule(text).takes("[fd12::1]", 81));
    CHECK_FALSE(rule(text).takes("[fd12::1]", 80));
  }
  CHECK(rule("[fd00::1]:81").takes("[fd00::1]", 81));
}

TEST_CASE("what is no entry is refused with a sentence") {
  for (const auto* text :
       {"",    "a*.example",  "*.",         "**",         "h:",       "h:0",   "h:65536",
        "h:x", "10.0.0.0/33", "fd00::/129", "10.0.0.0/x", "10.0.0/8", "127.1", "1.2.3.4.5:80",
        "a b", "http://h/",   "h/8",        "*.10.0.0.1", "u@h",      "a..b"}) {
    CAPTURE(text);
    const auto parsed = HostRule::parse(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().size() > 10);
  }
}

TEST_CASE("deny wins, and allow is exclusive") {
  Egress none;
  CHECK_FALSE(none.refuses("api.example.com", 443));
  CHECK_FALSE(none.refuses("127.0.0.1", 80));
  Egress egress{rules({"10.0.0.0/8", "*.internal", ":25"}),
                rules({"*.example.com", "192.0.2.0/24", "x.internal"})};
  CHECK_FALSE(egress.refuses("api.example.com", 443));
  CHECK(egress.refuses("api.example.com", 25));
  CHECK(egress.refuses("x.internal", 80));
  CHECK_FALSE(egress.refuses("api.example.com", ip("198.51.100.1"), 443));
  CHECK(egress.refuses("api.example.com", ip("10.1.1.1"), 443));
  CHECK(egress.refuses("api.example.com", ip("64:ff9b::a01:101"), 443));
  // Its address may still be one of the list's.
  CHECK_FALSE(egress.refuses("other.example", 80));
  CHECK_FALSE(egress.refuses("other.example", ip("192.0.2.7"), 80));
  CHECK(egress.refuses("other.example", ip("198.51.100.1"), 80));
  CHECK(egress.refuses("198.51.100.1", 80));
  const Egress names{{}, rules({"api.example.com"})};
  CHECK(names.refuses("other.example", 80));  // nothing is looked up for it
}

TEST_CASE("what is no address of anybody leads to this machine") {
  const Egress egress{rules({"127.0.0.0/8", "::1"}), {}};
  for (const auto* host : {"0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]", "127.9.9.9", "[::1]"}) {
    CAPTURE(host);
    CHECK(egress.refuses(host, 80));
  }
  CHECK_FALSE(egress.refuses("0.0.0.1", 80));
}

TEST_CASE("link-local and metadata addresses are denied unless an entry names them") {
  const Egress none;
  for (const auto* host : {"169.254.169.254", "169.254.0.1", "[fe80::1]", "[fd00:ec2::254]",
                           "100.100.100.200", "168.63.129.16", "metadata.google.internal",
                           "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]"}) {
    CAPTURE(host);
    CHECK(none.refuses(host, 80));
  }
  const auto meta = ip("169.254.169.254");
  CHECK(none.refuses("x.example", meta, 80));
  const auto allows = [&](std::string_view entry, std::string_view host) {
    return !Egress{{}, rules({entry, "*"})}.refuses(host, meta, 80);
  };
  CHECK(allows("169.254.169.254", "x.example"));
  CHECK(allows("169.254.0.0/16", "x.example"));
  CHECK(allows("169.254.169.254:80", "x.example"));
  CHECK(allows("metadata.google.internal", "metadata.google.internal"));
  CHECK_FALSE(allows("169.254.169.254:81", "x.example"));
  CHECK_FALSE(allows("x.example", "x.example"));
  CHECK_FALSE(allows("*.google.internal", "metadata.google.internal"));
  CHECK_FALSE(allows("0.0.0.0/0", "x.example"));
  CHECK_FALSE(allows("*", "x.example"));
  CHECK(Egress{rules({"169.254.169.254"}), rules({"169.254.169.254"})}.refuses("x.example", meta,
                                                                               80));
}

}  // namespace ledger
