#include "config/values.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <vector>

#include "config/hints.h"

namespace ledger {
namespace {

tl::unexpected<std::string> bad(std::string message) {
  return tl::unexpected<std::string>(std::move(message));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

struct Unit {
  std::string_view name;
  std::uint64_t factor;
  std::uint64_t from = 1;  // written from this number up: people say 60s and 24h
};
constexpr std::array<Unit, 5> duration_units = {
    {{"d", 86'400'000, 2}, {"h", 3'600'000}, {"m", 60'000, 2}, {"s", 1000, 0}, {"ms", 1}}};
constexpr std::array<Unit, 4> size_units = {
    {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}};

// A whole number and its unit; an overflow becomes the largest value, which every range refuses.
struct Quantity {
  std::uint64_t number;
  std::string_view unit;
};
std::optional<Quantity> split_quantity(std::string_view text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
  const auto digits = static_cast<std::size_t>(end - text.begin());
  if (digits == 0) return std::nullopt;
  Quantity quantity{0, text.substr(digits)};
  const auto [_, failure] = std::from_chars(text.data(), text.data() + digits, quantity.number);
  if (failure != std::errc()) quantity.number = std::numeric_limits<std::uint64_t>::max();
  return quantity;
}

std::uint64_t times(std::uint64_t number, std::uint64_t factor) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  return number > most / factor ? most : number * factor;
}

template <std::size_t N>
std::string in_largest_unit(std::uint64_t value, const std::array<Unit, N>& units) {
  for (const Unit& unit : units)
    if (value % unit.factor == 0 && value / unit.factor >= unit.from)
      return std::to_string(value / unit.factor) + std::string(unit.name);
  return std::to_string(value) + std::string(units.back().name);
}

std::string out_of_range(std::string_view text, std::string least, std::string most) {
  return code(text) + " is out of range: from " + std::move(least) + " to " + std::move(most);
}

constexpr std::string_view duration_form =
    "a whole number and a unit: `500ms`, `30s`, `5m`, `24h`, `7d`";
constexpr std::string_view size_form =
    "a whole number of bytes, or one with a unit: `64KiB`, `1MiB`";

}  // namespace

std::string code(std::string_view text) { return "`" + std::string(text) + "`"; }

std::string to_text(Duration duration) {
  return in_largest_unit(static_cast<std::uint64_t>(duration.count()), duration_units);
}

std::string size_text(std::size_t bytes) { return in_largest_unit(bytes, size_units); }

Parsed<Duration> parse_duration(std::string_view text, DurationRange range) {
  const auto quantity = split_quantity(text);
  if (!quantity) return bad(code(text) + " is not a duration: " + std::string(duration_form));
  if (quantity->unit.empty())
    return bad(code(text) + " has no unit: write `" + std::string(text) +
               "s` for seconds, or "
               "ms, m, h, d");
  const auto unit = std::find_if(duration_units.begin(), duration_units.end(),
                                 [&](const Unit& u) { return u.name == quantity->unit; });
  if (unit == duration_units.end())
    return bad(code(text) + " is not a duration: " + std::string(duration_form));
  const auto value = times(quantity->number, unit->factor);
  if (value < static_cast<std::uint64_t>(range.least.count()) ||
      value > static_cast<std::uint64_t>(range.most.count()))
    return bad(out_of_range(text, to_text(range.least), to_text(range.most)));
  return Duration(static_cast<Duration::rep>(value));
}

Parsed<std::optional<Duration>> parse_lasting(std::string_view text, DurationRange range) {
  if (text == "forever") return std::optional<Duration>();
  auto duration = parse_duration(text, range);
  if (duration) return std::optional<Duration>(*duration);
  constexpr std::array<std::string_view, 1> words = {"forever"};
  if (auto hint = did_you_mean(text, words); !hint.empty())
    return bad(code(text) + " is not a duration" + hint);
  return bad(duration.error() + "; or `forever`");
}

Parsed<std::size_t> parse_size(std::string_view text, SizeRange range) {
  const auto quantity = split_quantity(text);
  if (!quantity) return bad(code(text) + " is not a size: " + std::string(size_form));
  const auto name = quantity->unit.empty() ? std::string_view("B") : quantity->unit;
  const auto unit = std::find_if(size_units.begin(), size_units.end(),
                                 [&](const Unit& u) { return u.name == name; });
  if (unit == size_units.end()) {
    const auto meant = std::find_if(size_units.begin(), size_units.end(), [&](const Unit& u) {
      return lower(u.name).front() == lower(name).front();
    });
    if (meant == size_units.end())
      return bad(code(text) + " is not a size: " + std::string(size_form));
    return bad(code(text) + " is not a size; did you mean `" + std::to_string(quantity->number) +
               std::string(meant->name) + "`? Units are B, KiB, MiB, GiB");
  }
  const auto value = times(quantity->number, unit->factor);
  if (value < range.least || value > range.most)
    return bad(out_of_range(text, size_text(range.least), size_text(range.most)));
  return static_cast<std::size_t>(value);
}

Parsed<std::uint64_t> parse_count(std::string_view text, CountRange range) {
  const auto quantity = split_quantity(text);
  if (!quantity || !quantity->unit.empty())
    return bad(code(text) + " is not a whole number from " + std::to_string(range.least) + " to " +
               std::to_string(range.most));
  if (quantity->number < range.least || quantity->number > range.most)
    return bad(out_of_range(text, std::to_string(range.least), std::to_string(range.most)));
  return quantity->number;
}

Parsed<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || text.ends_with(']'))
    return bad(code(text) + " is not HOST:PORT, as in `127.0.0.1:8080`");
  auto host = text.substr(0, colon);
  const auto port = parse_count(text.substr(colon + 1), {0, 65535});
  if (!port) return bad("bad port in " + code(text) + ": " + port.error());
  if (host.empty() || host == "*")
    return bad(code(text) + " names no host: `127.0.0.1:" + std::to_string(*port) +
               "` for this machine alone, `0.0.0.0:" + std::to_string(*port) + "` for everyone");
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  std::string name = lower(host);
  std::array<unsigned char, 16> address{};
  const bool v4 = inet_pton(AF_INET, name.c_str(), address.data()) == 1;
  const bool v6 = !v4 && inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
  if (v6 && !bracketed)
    return bad(code(text) + ": an IPv6 address goes in brackets and, in YAML, in quotes: \"[" +
               name + "]:" + std::to_string(*port) + "\"");
  if (bracketed ? !v6 : !v4 && name != "localhost")
    return bad(code(host) + " is no address to listen on: give an IP address or `localhost`");
  return Endpoint{std::move(name), static_cast<std::uint16_t>(*port)};
}

Parsed<std::string> parse_store_url(std::string_view text) {
  constexpr std::string_view form = "write `sqlite:PATH` or `memory:`";
  const auto colon = text.find(':');
  const auto scheme = text.substr(0, colon);
  if (text == "memory:") return std::string(text);
  if (scheme == "sqlite" && colon != std::string_view::npos) {
    if (text.size() == colon + 1) return bad("`sqlite:` needs a path, as in `sqlite:ledger.db`");
    return std::string(text);
  }
  for (const std::string_view later : {"postgres", "postgresql", "redis", "rediss"})
    if (scheme == later)
      return bad(std::string(later) + " stores are not supported yet in this version; " +
                 std::string(form));
  constexpr std::array<std::string_view, 2> schemes = {"sqlite:", "memory:"};
  if (text.empty()) return bad("an empty store; " + std::string(form));
  if (colon == std::string_view::npos && !nearest(std::string(text) + ":", schemes))
    return bad(code(text) + " is not a store; did you mean `sqlite:" + std::string(text) + "`?");
  auto hint = did_you_mean(std::string(scheme) + ":", schemes);
  return bad(code(text) + " is not a store" + (hint.empty() ? "; " + std::string(form) : hint));
}

Parsed<Url> parse_upstream(std::string_view text) {
  if (text.find("://") == std::string_view::npos)
    return bad(code(text) + " is not an absolute URL; did you mean `https://" + std::string(text) +
               "`?");
  if (text.find('#') != std::string_view::npos) return bad("an upstream has no fragment (`#`)");
  auto url = parse_url(text);
  if (!url) return bad(url.error());
  if (url->has_query) return bad("an upstream has no query (`?`); calls bring their own");
  return std::move(*url);
}

Parsed<std::string> parse_upstream_key(std::string_view text) {
  constexpr std::string_view example =
      "write the header by which this upstream deduplicates, `upstream_key: Idempotency-Key`, or "
      "leave it out where there is none";
  if (is_switch(text) || is_number(text))
    return bad(code(text) + " names no header: " + std::string(example));
  for (const std::string_view place : {"body:/", "form:"})
    if (text.starts_with(place)) {
      const auto name = text.substr(place.size());
      if (!name.empty() && name.find_first_of("/~*&=") == name.npos) return std::string(text);
      return bad(code(text) +
                 " names no field: write `body:/idempotency_key`, for a member of the "
                 "JSON object, or `form:idempotency_key`");
    }
  if (const auto meant = meant_part(text); meant && meant->starts_with("header:"))
    return bad(code(text) + " is not a header name; did you mean " + code(meant->substr(7)) + "?");
  if (meant_part(text))
    return bad(code(text) + " is not a header name" + did_you_mean_part(text, " body form "));
  if (!is_token(text)) return bad(code(text) + " is not a header name, such as `Idempotency-Key`");
  // Headers that frame the message, choose its meaning or belong to the hop are not ours to set.
  constexpr std::array<std::string_view, 16> taken = {"host",
                                                      "content-length",
                                                      "transfer-encoding",
                                                      "connection",
                                                      "keep-alive",
                                                      "te",
                                                      "trailer",
                                                      "upgrade",
                                                      "content-type",
                                                      "expect",
                                                      "content-encoding",
                                                      "via",
                                                      "authorization",
                                                      "cookie",
                                                      "proxy-authorization",
                                                      "proxy-connection"};
  const auto name = lower(text);
  if (std::find(taken.begin(), taken.end(), name) != taken.end() || name.starts_with("ledger-"))
    return bad(code(text) +
               " has another meaning; name the header by which the upstream "
               "deduplicates, such as `Idempotency-Key`");
  return std::string(text);
}

namespace {

// The value of one ${...}; `inside` is what stands between the braces.
Parsed<std::string> variable(std::string_view inside, const Environment& env) {
  const auto end = std::find_if_not(inside.begin(), inside.end(), is_name_char);
  const auto name = inside.substr(0, static_cast<std::size_t>(end - inside.begin()));
  const auto rest = inside.substr(name.size());
  if (name.empty() || is_digit(name.front()) || (!rest.empty() && !rest.starts_with(":-"))) {
    const auto meant = meant_part(inside);
    return bad("`${" + std::string(inside) + "}` is not `${NAME}` or `${NAME:-default}`" +
               (meant ? "; a part of the call is `${" + *meant + "}`" : ""));
  }
  const auto value = env(std::string(name));
  if (!rest.empty()) return value && !value->empty() ? *value : std::string(rest.substr(2));
  if (!value)
    return bad("the environment variable " + code(name) +
               " is not set; set it, or give a default: "
               "`${" +
               std::string(name) + ":-default}`");
  return *value;
}

bool is_call_part(std::string_view inside) {
  for (const std::string_view source : {"header:", "body:", "form:", "query:", "path:"})
    if (inside.starts_with(source)) return true;
  return false;
}

}  // namespace

Parsed<std::string> substitute(std::string_view text, const Environment& env, bool key_template) {
  std::string out;
  while (true) {
    const auto open = text.find("${");
    out += text.substr(0, open);
    if (open == std::string_view::npos) return out;
    const bool escaped = !key_template && open > 0 && text[open - 1] == '$';
    text.remove_prefix(open);
    if (escaped) {
      out += "{";
      text.remove_prefix(2);
      continue;
    }
    const auto close = text.find('}');
    if (close == std::string_view::npos) return bad("`${` without its `}`");
    const auto whole = text.substr(0, close + 1), inside = text.substr(2, close - 2);
    text.remove_prefix(close + 1);
    if (is_call_part(inside)) {
      if (inside.starts_with("body:") && !inside.starts_with("body:/"))
        if (const auto meant = meant_part(inside))
          return bad(code(whole) + " holds no JSON pointer; did you mean " +
                     code("${" + *meant + "}") + "?");
      if (!key_template)
        return bad(code(whole) +
                   " names a part of the call, which only `key` and `label` can hold");
      out += whole;
      continue;
    }
    auto value = variable(inside, env);
    if (!value) return value;
    if (key_template && value->find("${") != std::string::npos)
      return bad("the value of " + code(whole) + " holds `${`, which the key would read again");
    out += *value;
  }
}

Parsed<std::string> expand_home(std::string_view path, const Environment& env) {
  if (path.empty()) return bad("an empty path");
  if (path.front() != '~') return std::string(path);
  if (path.size() > 1 && path[1] != '/')
    return bad(code(path) + ": `~` stands only for your own home, as in `~/ledger`");
  const auto home = env("HOME");
  if (!home || home->empty())
    return bad(code(path) + " needs the environment variable `HOME`, which is not set");
  return *home + std::string(path.substr(1));
}

// Optimal string alignment: insertions, deletions, substitutions, and swapped neighbours.
static std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> words) {
  if (word.empty() || word.size() > 64) return std::nullopt;
  // `onDuplicate` and `on-duplicate` mean `on_duplicate`: compare letters alone.
  const auto letters = [](std::string_view text) {
    std::string out = lower(text);
    std::erase_if(out, [](char c) { return c == '_' || c == '-' || c == ' '; });
    return out;
  };
  std::optional<std::string_view> best;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const auto candidate : words) {
    const auto distance = edits(letters(word), letters(candidate));
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  // About one slip in three letters; beyond that a guess confuses more than it helps.
  const auto length = best ? std::max(word.size(), best->size()) : 0;
  return least <= std::max<std::size_t>(1, length / 3) && least < length ? best : std::nullopt;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> words) {
  const auto near = nearest(word, words);
  return near ? "; did you mean " + code(*near) + "?" : "";
}

std::string misspelt_method(std::string_view method) {
  constexpr std::array<std::string_view, 9> common = {"GET",    "HEAD",    "POST",  "PUT",  "PATCH",
                                                      "DELETE", "OPTIONS", "TRACE", "QUERY"};
  // IANA's other methods, and caches' own, that are one or two letters from a common one.
  constexpr std::array<std::string_view, 10> rare = {"COPY", "MOVE", "LOCK", "LINK",  "LIST",
                                                     "BIND", "PRI",  "ACL",  "LABEL", "PURGE"};
  const auto is = [&](std::string_view known) { return known == method; };
  if (std::any_of(common.begin(), common.end(), is) || std::any_of(rare.begin(), rare.end(), is))
    return "";
  return did_you_mean(method, common);
}

bool collide(const Endpoint& a, const Endpoint& b) {
  if (a.port != b.port || a.port == 0) return false;
  const auto canonical = [](const Endpoint& e) -> std::string {
    std::array<unsigned char, 16> address{};
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (e.host == "localhost") return "127.0.0.1";
    if (inet_pton(AF_INET6, e.host.c_str(), address.data()) != 1) return e.host;
    return inet_ntop(AF_INET6, address.data(), text.data(), text.size());
  };
  const auto x = canonical(a), y = canonical(b);
  if (x == y || x == "::" || y == "::") return true;
  const bool both_v4 = x.find(':') == std::string::npos && y.find(':') == std::string::npos;
  return both_v4 && (x == "0.0.0.0" || y == "0.0.0.0");
}

}  // namespace ledger
