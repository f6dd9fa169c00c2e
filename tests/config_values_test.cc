// The words of ledger.yaml: durations, sizes, endpoints, stores, ${ENV}.
#include <doctest/doctest.h>

#include <array>
#include <map>

#include "config/values.h"

using namespace ledger;
using namespace std::chrono_literals;

namespace {

constexpr DurationRange wide{0ms, std::chrono::hours(24 * 36500)};
constexpr SizeRange bytes{1, std::size_t{1} << 34};

Environment environment(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

bool says(const std::string& message, std::string_view part) {
  CAPTURE(message);
  return message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a duration is a whole number with a unit") {
  CHECK(*parse_duration("500ms", wide) == 500ms);
  CHECK(*parse_duration("30s", wide) == 30s);
  CHECK(*parse_duration("5m", wide) == 5min);
  CHECK(*parse_duration("24h", wide) == 24h);
  CHECK(*parse_duration("7d", wide) == 168h);
  for (const auto* text :
       {"", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "5min", "5s ", "5s5", "0x5s"})
    CHECK_FALSE(parse_duration(text, wide));
  CHECK(says(parse_duration("30", wide).error(), "write `30s` for seconds"));
}

TEST_CASE("a duration out of range, or too large to count, is refused with the range") {
  CHECK(says(parse_duration("0s", {1ms, 24h}).error(), "from 1ms to 24h"));
  CHECK(says(parse_duration("25h", {1ms, 24h}).error(), "from 1ms to 24h"));
  CHECK_FALSE(parse_duration("99999999999999999999d", wide));
  CHECK_FALSE(parse_duration("9223372036854775807d", wide));
  CHECK_FALSE(parse_duration("213503982335d", wide));
}

TEST_CASE("forever is a duration only where it is allowed") {
  CHECK(*parse_lasting("forever", wide) == std::nullopt);
  CHECK(*parse_lasting("1h", wide) == Duration(1h));
  CHECK_FALSE(parse_duration("forever", wide));
  CHECK(says(parse_lasting("forevr", wide).error(), "did you mean `forever`?"));
  CHECK(says(parse_lasting("never", wide).error(), "or `forever`"));
}

TEST_CASE("durations are written in the largest unit that says them whole") {
  CHECK(to_text(0ms) == "0s");
  CHECK(to_text(1ms) == "1ms");
  CHECK(to_text(1500ms) == "1500ms");
  CHECK(to_text(90s) == "90s");
  CHECK(to_text(2min) == "2m");
  CHECK(to_text(24h) == "24h");
  CHECK(to_text(48h) == "2d");
  CHECK(to_text(60s) == "60s");
  CHECK(size_text(64 * 1024) == "64KiB");
  CHECK(size_text(1000) == "1000B");
}

TEST_CASE("a size is a whole number of bytes or of a binary unit") {
  CHECK(*parse_size("1", bytes) == 1);
  CHECK(*parse_size("512B", bytes) == 512);
  CHECK(*parse_size("64KiB", bytes) == 65536);
  CHECK(*parse_size("1MiB", bytes) == 1048576);
  CHECK(*parse_size("2GiB", bytes) == 2147483648);
  CHECK(says(parse_size("1MB", bytes).error(), "did you mean `1MiB`?"));
  CHECK(says(parse_size("10k", bytes).error(), "did you mean `10KiB`?"));
  for (const auto* text : {"", "-1", "1.5MiB", "MiB", "1 MiB", "0", "18446744073709551615GiB"})
    CHECK_FALSE(parse_size(text, bytes));
}

TEST_CASE("an endpoint is an IP address or localhost, and a port") {
  CHECK(*parse_endpoint("127.0.0.1:8080") == Endpoint{"127.0.0.1", 8080});
  CHECK(*parse_endpoint("LOCALHOST:0") == Endpoint{"localhost", 0});
  CHECK(*parse_endpoint("[::1]:8080") == Endpoint{"::1", 8080});
  CHECK(says(parse_endpoint(":8080").error(), "`0.0.0.0:8080`"));
  CHECK(says(parse_endpoint("*:8080").error(), "`0.0.0.0:8080`"));
  CHECK(says(parse_endpoint("::1:8080").error(), "[::1]:8080"));
  CHECK(says(parse_endpoint("8080").error(), "HOST:PORT"));
  CHECK(says(parse_endpoint("example.com:80").error(), "IP address or `localhost`"));
  for (const auto* text : {"127.0.0.1", "[::1]", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:x",
                           "256.0.0.1:1", "[127.0.0.1]:1", "[]:1", "http://127.0.0.1:80"})
    CHECK_FALSE(parse_endpoint(text));
}

TEST_CASE("loopback is this machine and nothing else") {
  for (const auto* host : {"127.0.0.1", "127.9.9.9", "localhost", "::1"})
    CHECK(Endpoint{host, 1}.loopback());
  for (const auto* host :
       {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "fe80::1", "", "::ffff:10.0.0.1"})
    CHECK_FALSE(Endpoint{host, 1}.loopback());
  CHECK(Endpoint{"::1", 8080}.to_string() == "[::1]:8080");
}

TEST_CASE("endpoints collide where the second bind would fail") {
  const auto at = [](const char* host, std::uint16_t port) { return Endpoint{host, port}; };
  CHECK(collide(at("127.0.0.1", 1), at("127.0.0.1", 1)));
  CHECK(collide(at("127.0.0.1", 1), at("localhost", 1)));
  CHECK(collide(at("0.0.0.0", 1), at("127.0.0.1", 1)));
  CHECK(collide(at("::1", 1), at("0:0:0:0:0:0:0:1", 1)));
  CHECK_FALSE(collide(at("127.0.0.1", 1), at("127.0.0.1", 2)));
  CHECK_FALSE(collide(at("127.0.0.1", 0), at("127.0.0.1", 0)));
  CHECK_FALSE(collide(at("127.0.0.1", 1), at("127.0.0.2", 1)));
  CHECK_FALSE(collide(at("0.0.0.0", 1), at("::1", 1)));
}

TEST_CASE("a store is sqlite: or memory:, and anything else is told what was meant") {
  CHECK(*parse_store_url("memory:") == "memory:");
  CHECK(*parse_store_url("sqlite:/var/lib/ledger.db") == "sqlite:/var/lib/ledger.db");
  CHECK(says(parse_store_url("ledger.db").error(), "did you mean `sqlite:ledger.db`?"));
  CHECK(says(parse_store_url("sqlit:x").error(), "did you mean `sqlite:`?"));
  CHECK(says(parse_store_url("memory").error(), "did you mean `memory:`?"));
  CHECK(says(parse_store_url("postgres://h/db").error(), "not supported yet"));
  CHECK(says(parse_store_url("sqlite:").error(), "needs a path"));
}

TEST_CASE("an upstream is an absolute URL without query or user") {
  CHECK(parse_upstream("https://api.stripe.com")->to_string() == "https://api.stripe.com/");
  CHECK(parse_upstream("http://127.0.0.1:1234/base")->path == "/base");
  CHECK(says(parse_upstream("api.stripe.com").error(), "did you mean `https://api.stripe.com`?"));
  for (const auto* text : {"https://h/?x", "https://h/?", "https://h/#x", "https://u:p@h/",
                           "ftp://h/", "https://", "https://h:99999/"})
    CHECK_FALSE(parse_upstream(text));
}

TEST_CASE("an upstream key is a header that nothing else gives a meaning") {
  CHECK(*parse_upstream_key("Idempotency-Key") == "Idempotency-Key");
  for (const auto* text : {"Idempotency Key", "a:b", "Host", "content-length", "Ledger-Key", "TE"})
    CHECK_FALSE(parse_upstream_key(text));
}

TEST_CASE("${NAME} becomes the variable's value, or its default, or an error that names it") {
  const auto env = environment({{"TOKEN", "s3cret: {x}"}, {"EMPTY", ""}});
  CHECK(*substitute("a ${TOKEN} b", env, false) == "a s3cret: {x} b");
  CHECK(*substitute("${TOKEN}${TOKEN}", env, false) == "s3cret: {x}s3cret: {x}");
  CHECK(*substitute("${NOPE:-x y}", env, false) == "x y");
  CHECK(*substitute("${NOPE:-}", env, false).map([](auto s) { return "<" + s + ">"; }) == "<>");
  CHECK(*substitute("${EMPTY:-x}", env, false) == "x");
  CHECK(*substitute("${EMPTY}", env, false) == "");
  CHECK(*substitute("$5 and $NAME", env, false) == "$5 and $NAME");
  CHECK(*substitute("$${TOKEN}", env, false) == "${TOKEN}");
  CHECK(says(substitute("${NOPE}", env, false).error(), "`NOPE` is not set"));
  for (const auto* text : {"${", "${}", "${TOKEN", "${1}", "${A B}", "${A:x}", "${header:X}"})
    CHECK_FALSE(substitute(text, env, false));
}

TEST_CASE("a value that ends in a dollar sign escapes nothing that follows") {
  const auto env = environment({{"A", "x$"}, {"B", "y"}});
  CHECK(*substitute("${A}${B}", env, false) == "x$y");
}

TEST_CASE("in a key template the parts of a call are left alone, and variables still stand") {
  const auto env = environment({{"SHOP", "eu"}, {"EVIL", "${header:X}"}, {"path", "no"}});
  CHECK(*substitute("${SHOP}-${body:/metadata/order_id}", env, true) ==
        "eu-${body:/metadata/order_id}");
  CHECK(*substitute("${header:X}${form:n}${query:n}${path:sid}", env, true) ==
        "${header:X}${form:n}${query:n}${path:sid}");
  CHECK(says(substitute("${EVIL}", env, true).error(), "read again"));
  CHECK(says(substitute("${NOPE}-${header:X}", env, true).error(), "`NOPE` is not set"));
}

TEST_CASE("`~` is the user's home, and only that") {
  const auto env = environment({{"HOME", "/home/me"}});
  CHECK(*expand_home("~/x", env) == "/home/me/x");
  CHECK(*expand_home("~", env) == "/home/me");
  CHECK(*expand_home("/a/~/b", env) == "/a/~/b");
  CHECK_FALSE(expand_home("~you/x", env));
  CHECK_FALSE(expand_home("~/x", environment({})));
}

TEST_CASE("the nearest word is found across slips, and nothing is guessed from noise") {
  constexpr std::array<std::string_view, 4> words = {"on_duplicate", "on_in_flight", "ttl", "wait"};
  CHECK(nearest("on_duplicat", words) == "on_duplicate");
  CHECK(nearest("onDuplicate", words) == "on_duplicate");
  CHECK(nearest("on-in-flight", words) == "on_in_flight");
  CHECK(nearest("tll", words) == "ttl");
  CHECK(nearest("wiat", words) == "wait");
  CHECK(nearest("banana", words) == std::nullopt);
  CHECK(nearest("x", words) == std::nullopt);
  CHECK(nearest("", words) == std::nullopt);
}
