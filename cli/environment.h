// What a client's environment needs so that its calls come through a proxy and it trusts our CA.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "config/config.h"
#include "proxy/authority.h"

namespace ledger::cli {

// Who the calls are from: the user of the proxy's URL. Either may be empty.
struct CallerName {
  std::string agent, run;
};

using Variables = std::vector<std::pair<std::string, std::string>>;

// The variables that clients read, for a proxy that listens on `listen`. The CA comes alone where a
// variable adds to the roots that a client has, and in a bundle with the system's where it replaces
// them; files that this environment names in such variables already are part of the bundle.
// NO_PROXY keeps what it has and gets the metadata addresses of clouds. Error: a file that cannot
// be written.
tl::expected<Variables, std::string> client_environment(const Config& config,
                                                        const Endpoint& listen,
                                                        const CallerName& caller,
                                                        const CertificateAuthority& authority);

// This process's environment with these variables in it ("NAME=value").
std::vector<std::string> merged_environment(const Variables& variables);

// `http://agent.run:token@host:port`; with a token and nobody named, the user is a dot.
std::string proxy_url(const Config& config, const Endpoint& listen, const CallerName& caller);

// A guarded host that NO_PROXY takes past the proxy, and the entry that does; nullopt: none.
std::optional<std::pair<std::string, std::string>> bypassed_host(const Config& config,
                                                                 const std::string& no_proxy);

// What the admin endpoint of a running proxy answers to this GET; nullopt: nothing, or an error.
std::optional<std::string> ask_admin(const Config& config, const std::string& path);

// The main listener of a proxy that runs with this config (its admin endpoint serves the same CA);
// nullopt: none does. The error: a proxy answers there that signs with another CA, in one line.
tl::expected<std::optional<Endpoint>, std::string> running_proxy(
    const Config& config, const CertificateAuthority& authority);

}  // namespace ledger::cli
