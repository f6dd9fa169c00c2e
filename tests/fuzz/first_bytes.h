// What must hold of a tunnel's first bytes, whatever they are.
#pragma once

#include <string>
#include <vector>

#include "proxy/first_bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/proxy_net_support.h"

namespace ledger::test {

struct Told {
  FirstBytes what = FirstBytes::undecided;
  std::string name;
  bool operator==(const Told&) const = default;
};

// As they come: `how` says in what pieces.
inline Told look(std::string_view bytes, unsigned how, std::size_t max) {
  FirstLook first(max);
  Told told;
  for (std::size_t end = 0; end < bytes.size() && told.what == FirstBytes::undecided;
       how = how * 5 + 3) {
    end = std::min(bytes.size(), end + 1 + (how >> 3) % (how % 251 + 1));
    told = {first.at(bytes.substr(0, end)), first.server_name()};
  }
  return told;
}

inline Told check_first_bytes(std::string_view bytes, unsigned how) {
  constexpr std::size_t plenty = 65'536;
  FirstLook at_once(plenty);
  const Told told{at_once.at(bytes), at_once.server_name()};
  CHECK(look(bytes, how, plenty) == told);
  // More that comes changes nothing.
  if (told.what != FirstBytes::undecided) CHECK(at_once.at(std::string(bytes) + "x") == told.what);
  // A name is one that means one host, for TLS alone.
  if (!told.name.empty()) {
    CHECK(told.what == FirstBytes::tls);
    CHECK(is_host_name(told.name));
    CHECK(std::none_of(told.name.begin(), told.name.end(),
                       [](char c) { return c >= 'A' && c <= 'Z'; }));
    CHECK(told.name.back() != '.');
  }
  // Nobody is waited for without end.
  const std::size_t few = 1 + how % 64;
  if (bytes.size() > few) CHECK(look(bytes, how, few).what != FirstBytes::undecided);
  // What our own reader takes for a request is never taken for anything that goes by unseen.
  if (!read_text(bytes).messages.empty()) CHECK(told.what == FirstBytes::http);
  return told;
}

}  // namespace ledger::test
