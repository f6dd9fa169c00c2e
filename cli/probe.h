// One client, and whether its calls come through a proxy of ours.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "cli/child.h"
#include "cli/clients.h"
#include "cli/environment.h"

namespace ledger::cli {

enum class Verdict : std::uint8_t { not_found, through, bypassed, refused_ca, failing };

struct Finding {
  Verdict verdict = Verdict::not_found;
  std::string reason;  // of a failure or a refusal: the client's own last words
};
struct Findings {
  std::string program;  // its path; empty: not found
  Finding http, https;
  bool found() const { return !program.empty(); }
  bool has(Verdict verdict) const { return http.verdict == verdict || https.verdict == verdict; }
  bool through() const {
    return http.verdict == Verdict::through && https.verdict == Verdict::through;
  }
};

// Each call gets an echo and a proxy of its own, so that whatever either sees is this client's
// doing. The echo's name is one that only the proxy can look up. A client that never came to the
// proxy is sent to the echo's address as well: if it gets there, it can call and bypasses us.
//
// What it is made of must outlive it. Any thread may use it.
class Probe {
 public:
  // `echo_authority` signs for the echo: not the user's, since only our proxy is to trust it.
  // `folder`: for files that clients leave behind. `stop` ends a call that runs.
  Probe(const Config& config, const CertificateAuthority& authority,
        const CertificateAuthority& echo_authority, const std::string& folder,
        const std::atomic<bool>& stop)
      : config_(config),
        authority_(authority),
        echo_authority_(echo_authority),
        folder_(folder),
        stop_(stop) {}

  Findings examine(const Client& client) const;

 private:
  Finding call(const Client& client, const std::string& program, bool secure) const;
  Ended run(const Client& client, const std::string& program, const std::string& url,
            Variables variables) const;
  Variables with_java(Variables variables, const Endpoint& listen) const;

  const Config& config_;
  const CertificateAuthority& authority_;
  const CertificateAuthority& echo_authority_;
  const std::string& folder_;
  const std::atomic<bool>& stop_;
};

}  // namespace ledger::cli
