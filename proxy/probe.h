// Asking an upstream whether a call in doubt happened: a GET that a route describes (`probe:`).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/policy.h"
#include "fingerprint/url.h"
#include "guard/decide.h"
#include "proxy/upstream.h"

namespace ledger {

// The URL to ask for this call; empty: the call lacks a part of it, so nobody can ask.
std::string probe_url(const ProbeRule& rule, const Call& call, const IdentityRules& identity,
                      const Captures& captures);

// GETs `url` with `headers`, within `deadline`. Never fails: what cannot be told is unclear.
Awaitable<Probed> ask(UpstreamPool& pool, const ProbeRule& rule, std::string url, bool insecure,
                      Headers headers, SteadyClock::time_point deadline);

// What the upstream's answer to a probe means. 2xx with JSON tells; so do 404 and 410 ("not
// found"); everything else is unclear.
Probed read_probe(const ProbeRule& rule, int status, const std::string& body, Instant now);

}  // namespace ledger
