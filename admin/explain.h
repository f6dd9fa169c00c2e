// What Ledger would make of a call, without sending it.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "admin/json.h"
#include "config/config.h"

namespace ledger {

struct ExplainRequest {
  std::string method, url;  // absolute, or a path that a mount maps
  Headers headers;
  std::string body;
  std::string agent, run;
};

// {route, policy, tunnel, blind_tunnels, url, body_kind, assumed, canonical, fingerprint, key,
// label, key_source, would}. `would` is what the call would get now: "execute", "replay", "wait",
// "in-doubt", "pass", "blind" (an https URL whose tunnel is not opened: nobody sees the call), or
// the slug of its refusal ("duplicate-blocked", "key-reused", ...); left out without `with_state`.
// `tunnel`: opened, blind, refused, or null; `blind_tunnels`: how many went to this host so far,
// where `tunnels` is given. `assumed`: the Content-Type that a body without one was taken for.
// Nothing is sent or written; blocks on the store. Error: one sentence.
tl::expected<Json, std::string> explain(const Config& config, Store& store, ExplainRequest request,
                                        const TunnelCounts* tunnels = nullptr,
                                        bool with_state = true);

}  // namespace ledger
