// The words of ledger.yaml as values: durations, sizes, endpoints, ${ENV}. Private to config/;
// knows no YAML and no positions. Each error is one sentence that says what is wrong and what is
// accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger {

template <class T>
using Parsed = tl::expected<T, std::string>;

// Both ends included.
struct DurationRange {
  Duration least, most;
};
struct SizeRange {
  std::size_t least, most;  // bytes
};
struct CountRange {
  std::uint64_t least, most;
};

// A whole number and one of ms s m h d.
Parsed<Duration> parse_duration(std::string_view text, DurationRange range);
// The same, or `forever` (nullopt).
Parsed<std::optional<Duration>> parse_lasting(std::string_view text, DurationRange range);
// A whole number of bytes, or one with B KiB MiB GiB.
Parsed<std::size_t> parse_size(std::string_view text, SizeRange range);
Parsed<std::uint64_t> parse_count(std::string_view text, CountRange range);
// HOST:PORT; the host an IP address or `localhost`.
Parsed<Endpoint> parse_endpoint(std::string_view text);
// memory: or sqlite:PATH, as written.
Parsed<std::string> parse_store_url(std::string_view text);
// An absolute URL that calls can be sent to: no query, no user.
Parsed<Url> parse_upstream(std::string_view text);
// A header that Ledger may set on its own.
Parsed<std::string> parse_upstream_key(std::string_view text);

// "30s", "24h": the largest unit that says it whole.
std::string to_text(Duration duration);
// "64KiB": likewise.
std::string size_text(std::size_t bytes);

// Puts values for ${NAME} and ${NAME:-default}. `key_template`: leaves ${header:X} and its like to
// the template; elsewhere `$${` is a literal `${`.
Parsed<std::string> substitute(std::string_view text, const Environment& env, bool key_template);

// `~` and `~/x` under the user's home; other paths as they are.
Parsed<std::string> expand_home(std::string_view path, const Environment& env);

// The word nearest to `word` by edits, if any is near enough to have been meant.
std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> words);
// "; did you mean `x`?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> words);
// "; did you mean `POST`?" where `method` is no method that anybody uses but looks like one: a
// route for it would never match. Methods are case-sensitive.
std::string misspelt_method(std::string_view method);
// "`x`".
std::string code(std::string_view text);

// Would binding both fail, the one after the other?
bool collide(const Endpoint& a, const Endpoint& b);

}  // namespace ledger
