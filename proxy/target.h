// Where a call goes and who makes it, from its head alone.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "config/config.h"
#include "guard/problem.h"
#include "proxy/message.h"
#include "proxy/upstream.h"

namespace ledger {

struct Target {
  Url url;                   // the upstream's, after mounting
  bool reverse = false;      // came by a mount or an own-port listener
  std::string upstream_key;  // of that mount or listener; empty: none
  bool insecure = false;     // that mount's: the upstream's certificate is not verified

  UpstreamAddress address() const { return {url, insecure, reverse}; }
};

// The caller's name, from the proxy URL's user ("agent.run") or Ledger-Agent and Ledger-Run.
struct Caller {
  std::string agent, run;
};

// A CONNECT tunnel that was opened: calls inside it come in origin-form.
struct Tunnel {
  Url url;  // scheme, host and port that the calls are for
  Caller caller;
};

// Of a call inside a tunnel. Its Host must be the tunnel's, whose name is the call's identity.
tl::expected<Target, Problem> find_target(const Head& head, const Tunnel& tunnel);

// Absolute-form is forward proxying; origin-form a mount, or the listener's own upstream, for which
// absolute-form is the listener's own address. `listener`: as bound.
tl::expected<Target, Problem> find_target(const Head& head, const Listener& listener,
                                          const Config& config);

// May not be asked in origin-form: a browser sends it for a web page elsewhere. It may do so for
// one call of a connection and not for the next.
std::optional<Problem> refuse_page(const Head& head, const Listener& listener,
                                   const Config& config);

// Checks the token where `auth` asks for one: 407 for a proxied call, 401 for a reverse one.
tl::expected<Caller, Problem> identify_caller(const Head& head, bool reverse,
                                              const std::string& token);

// Inside a tunnel: who opened it, where CONNECT said so (and showed the token).
tl::expected<Caller, Problem> identify_caller(const Head& head, const Tunnel& tunnel);

// Loops. Has the proxy named `via` forwarded this request before?
bool has_passed_here(const Head& head, std::string_view via);

}  // namespace ledger
