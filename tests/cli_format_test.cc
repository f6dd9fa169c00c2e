// What people read: clean text, widths, columns, times, sizes, and the lines of the log.
#include <doctest/doctest.h>

#include "cli/rows.h"
#include "cli/terminal.h"

using namespace ledger;
using namespace ledger::cli;
using namespace std::chrono_literals;

namespace {

std::string line(const Row& row) {
  Columns columns;
  columns.fit(row);
  return columns.line(row, false);
}

Record record(const std::string& route, std::uint64_t attempts, State state = State::completed) {
  Record r;
  r.route = route;
  r.method = "POST";
  r.url = "https://api.example.com/v1/things?x=1";
  r.state = state;
  r.counts = {attempts, 1, attempts - 1, 0};
  return r;
}

}  // namespace

TEST_CASE("text from requests cannot move a terminal") {
  CHECK(clean("plain, ünïcode, 日本, ✓") == "plain, ünïcode, 日本, ✓");
  CHECK(clean("a\x1b[31mb") == "a\\x1b[31mb");
  CHECK(clean("a\nb\rc\td") == "a\\nb\\rc\\td");
  CHECK(clean(std::string("a\0b\x7f", 4)) == "a\\x00b\\x7f");
  CHECK(clean("\302\23331m") == "\\u009b31m");                          // CSI in one C1 character
  CHECK(clean("\342\200\256gpj.exe") == "\\u202egpj.exe");              // right-to-left override
  CHECK(clean("\x9b\xff") == "\\x9b\\xff");                             // no UTF-8
  CHECK(clean("\xc0\xaf\xed\xa0\x80") == "\\xc0\\xaf\\xed\\xa0\\x80");  // overlong, surrogate
  CHECK(clean("\xe2\x82") == "\\xe2\\x82");                             // cut short
  CHECK(clean("").empty());
}

TEST_CASE("width counts columns, not bytes") {
  CHECK(width("abc") == 3);
  CHECK(width("← retried 4×") == 12);
  CHECK(width("日本") == 4);
  CHECK(width("e\xcc\x81") == 1);  // e and a combining accent
  CHECK(width("\xff") == 1);
}

TEST_CASE("what is too long loses its middle") {
  CHECK(shorten("abcdef", 6) == "abcdef");
  CHECK(shorten("abcdefg", 6) == "abc…fg");
  CHECK(width(shorten("日本語日本語日本語", 7)) <= 7);
  CHECK(shorten("abc", 1) == "…");
  CHECK(shorten("abc", 0).empty());
}

TEST_CASE("a text of megabytes is shortened in one pass") {
  const std::string long_text(2 << 20, 'x');  // a pass for each character would take an hour
  CHECK(shorten(long_text + "yz", 6) == "xxx…yz");
}

TEST_CASE("times and sizes as people say them") {
  CHECK(lasting(850ms) == "850ms");
  CHECK(lasting(119s) == "1m");
  CHECK(lasting(47h) == "47h");
  CHECK(lasting(49h) == "2d");
  const Instant now{1'000'000s};
  CHECK(relative(now - 2min, now) == "2m ago");
  CHECK(relative(now + 23h, now) == "in 23h");
  CHECK(relative(now - 999ms, now) == "now");
  CHECK(sized(0) == "0 B");
  CHECK(sized(1536) == "1.5 KiB");
  CHECK(sized(1024 * 1024 - 1) == "1.0 MiB");
  CHECK(counted(1, "mount") == "1 mount");
  CHECK(counted(0, "route") == "0 routes");
}

TEST_CASE("columns stand under each other, three spaces apart") {
  Columns columns;
  const Row wide{{"日本"}, {"1", Style::plain, true}, {"x"}};
  const Row narrow{{"a"}, {"100", Style::plain, true}, {""}};
  columns.fit(wide);
  columns.fit(narrow);
  CHECK(columns.line(wide, false) == "日本     1   x");
  CHECK(columns.line(narrow, false) == "a      100");
  CHECK(columns.line({{""}, {"7", Style::plain, true}}, false) == "         7");
}

TEST_CASE("colours only where they are wanted") {
  CHECK(styled("x", Style::good, true) == "\x1b[32mx\x1b[0m");
  CHECK(styled("x", Style::good, false) == "x");
  CHECK(styled("x", Style::plain, true) == "x");
}

TEST_CASE("the line of one record begins with its id's first digits") {
  auto r = record("charge_card", 5);
  r.id.fill(0xab);
  CHECK(line(record_row(r)) ==
        "abababab   ✓ charge_card   attempts 5   executed 1   blocked 4   ← retried 4×");
}

TEST_CASE("a doubt dates from its first sending, and its reason is the latest") {
  auto r = record("charge_card", 2, State::in_doubt);
  const auto at = [](int s) { return Instant(std::chrono::seconds(s)); };
  r.history = {{at(1), "in_doubt", "an older one"},
               {at(2), "resolved", "not executed"},
               {at(3), "claimed", ""},
               {at(4), "in_doubt", "reset"},
               {at(5), "claimed", "sent again under the same upstream key"},
               {at(6), "in_doubt", "time-out after 80 s"}};
  CHECK(doubt_of(r).since == at(4));
  CHECK(doubt_of(r).why == "time-out after 80 s");
}

TEST_CASE("the log's line") {
  const auto log_row = [](const Record& one) {
    Summary summary;
    summary.add(one);
    return summary.rows().front();
  };
  CHECK(line(log_row(record("charge_card", 5))) ==
        "✓ charge_card   attempts 5   executed 1   blocked 4   ← retried 4×");
  CHECK(line(log_row(record("charge_card", 1))) ==
        "✓ charge_card   attempts 1   executed 1   blocked 0");
  CHECK(line(log_row(record("a", 1, State::in_flight))).starts_with("… a"));
  CHECK(line(log_row(record("a", 1, State::released))).starts_with("↺ a"));
  CHECK(line(log_row(record("a", 1, State::in_doubt))).starts_with("? a"));
}

TEST_CASE("a call that no route names shows its place") {
  auto r = record("", 1);
  CHECK(name_of(r) == "POST api.example.com/v1/things");
  r.url = "https://api.example.com/\x1b]0;evil\x07";
  CHECK(name_of(r) == "POST api.example.com/\\x1b]0;evil\\x07");
  r.url = "https://api.example.com/" + std::string(500, 'x') + "/end";
  CHECK(width(name_of(r)) == 48);
  CHECK(name_of(r).ends_with("/end"));
}

TEST_CASE("statistics end with their sum") {
  const auto rows = stats_rows({{"a", {10, 4, 5, 1}, 1, 0, 1, 0, 0}, {"", {0, 0, 0, 0}}});
  REQUIRE(rows.size() == 4);
  CHECK(line(rows[1]) == "a   10   4   6   5   1   0   60.0%");
  CHECK(line(rows[2]) == "(no route)   0   0   0   0   0   0   0.0%");
  CHECK(line(rows[3]) == "total   10   4   6   5   1   0   60.0%");
}

TEST_CASE("six to 64 hex digits can be an id") {
  CHECK(is_id_prefix("abc123"));
  CHECK(is_id_prefix("ABCDEF"));
  CHECK_FALSE(is_id_prefix("abc12"));
  CHECK_FALSE(is_id_prefix("abcdeg"));
  CHECK_FALSE(is_id_prefix(std::string(65, 'a')));
}
