// The table of settings: every key of ledger.yaml once, with its parser, range, default and a
// phrase for the documentation. Private to config/. docs/config.md and ledger.schema.json are
// tested against it.
#pragma once

#include <map>
#include <string>

#include "config/reader.h"

namespace ledger {

// A route while it is read; its name may still be derived from the match.
struct RouteDraft {
  Route route;
  std::string match;  // as written; empty until it was read well
};

const Settings<Policy>& policy_settings();  // in routes and in `defaults`
const Settings<RouteDraft>& route_settings();
const Settings<Mount>& mount_settings();
const Settings<Listener>& listener_settings();
const Settings<Config>& admin_settings();
const Settings<Config>& store_settings();
const Settings<Config>& tls_settings();
const Settings<Config>& auth_settings();
const Settings<Config>& egress_settings();
const Settings<Config>& limit_settings();
const Settings<Config>& https_settings();

// The top of the file, in the order in which its sections are read: each may build on those before.
const Settings<Config>& top_settings();

// once -> true, pass -> false.
Parsed<bool> parse_guarded(std::string_view text);

// The sections that need more than their table: readers of their own (sections.cc).
void read_tls(Reader& in, const Entry& entry, Config& config);
void read_defaults(Reader& in, const Entry& entry, Config& config);
void read_mounts(Reader& in, const Entry& entry, Config& config);
void read_listeners(Reader& in, const Entry& entry, Config& config);
void read_routes(Reader& in, const Entry& entry, Config& config);
void read_outcomes(Reader& in, const Entry& entry, Policy& policy);
void read_probe(Reader& in, const Entry& entry, Policy& policy);

}  // namespace ledger
