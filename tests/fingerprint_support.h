// Builds calls for the tests of fingerprint/, and keeps their bytes alive.
#pragma once

#include <doctest/doctest.h>
#include <zlib.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fingerprint/body.h"
#include "fingerprint/identity.h"

namespace ledger::test {

inline std::string read_vector(const std::string& name) {
  std::ifstream file(std::string(LEDGER_SOURCE_DIR) + "/tests/vectors/" + name, std::ios::binary);
  REQUIRE_MESSAGE(file, "tests/vectors/" << name);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A call and the rules it is judged by; every member may be changed before asking.
struct Case {
  std::string method = "POST", url = "https://api.example.com/v1/charges";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body, agent, run;
  IdentityRules rules;
  std::string route;
  Captures captures;
  std::string secret = "a secret of the store";

  Case& with(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  Case& ignore(std::string_view text) {
    auto rule = parse_ignore(text);
    REQUIRE_MESSAGE(rule, text);
    rules.ignore.push_back(std::move(*rule));
    return *this;
  }
  Case& key(std::string_view text) {
    auto key_template = parse_key_template(text);
    REQUIRE_MESSAGE(key_template, text);
    rules.key = std::make_shared<const KeyTemplate>(std::move(*key_template));
    return *this;
  }

  template <typename Ask>
  auto ask(Ask&& question) const {
    const auto parsed = parse_url(url);
    REQUIRE_MESSAGE(parsed, url);
    std::vector<HeaderView> views;
    for (const auto& [name, value] : headers) views.push_back({name, value});
    return question(Call{method, &*parsed, views, body, agent, run});
  }
  tl::expected<Identity, IdentityError> try_identify() const {
    return ask([&](const Call& c) { return identify(c, rules, route, captures, secret); });
  }
  Identity identity() const {
    auto made = try_identify();
    REQUIRE_MESSAGE(made, made.error().detail);
    return *made;
  }
  std::string fingerprint() const { return to_hex(identity().fingerprint); }
  std::string id() const { return to_hex(identity().id); }
  CanonicalBody canonical() const {
    return ask([&](const Call& c) { return canonical_body(c, rules); });
  }
  bool unguarded_rpc() const { return ask(is_unguarded_json_rpc); }
};

inline Case json(std::string body) {
  Case c;
  c.body = std::move(body);
  return c.with("Content-Type", "application/json");
}
inline Case form(std::string body) {
  Case c;
  c.body = std::move(body);
  return c.with("Content-Type", "application/x-www-form-urlencoded");
}

// `window_bits` as zlib's deflateInit2: 31 gzip, 15 zlib, -15 without a wrapper.
inline std::string deflated(std::string_view text, int window_bits) {
  z_stream z{};
  REQUIRE(deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

// Seeded, so that a failure can be had again; the seed is in every message.
struct Random {
  explicit Random(unsigned seed) : engine(seed) {}
  unsigned below(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(engine); }
  bool coin() { return below(2) == 0; }
  template <typename List>
  auto pick(const List& list) {
    return list[below(static_cast<unsigned>(std::size(list)))];
  }
  std::mt19937 engine;
};

}  // namespace ledger::test
