// ledger ca: the local CA that clients trust for opened tunnels.
#include <iostream>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "proxy/authority.h"

namespace ledger::cli {

int ca(const CaOptions& options) {
  const auto loaded = load(options.config);
  if (!loaded) return usage;
  if (options.only_named && options.action != "rotate")
    return refuse("--only-named goes with `rotate`", usage);
  const auto& config = loaded->config;
  const bool rotates = options.action == "rotate";
  const auto opened = rotates ? CertificateAuthority::rotate(config, options.only_named)
                              : CertificateAuthority::open(config);
  if (!opened) return refuse(opened.error());
  const auto& authority = **opened;
  const auto expires =
      to_rfc3339(std::chrono::time_point_cast<std::chrono::milliseconds>(authority.expires_at()));
  if (options.json) {
    print_json({{"path", authority.certificate_file()},
                {"subject", authority.subject()},
                {"sha256", authority.sha256()},
                {"expires_at", expires}});
    return fine;
  }
  if (options.action == "path") {
    std::cout << authority.certificate_file() << '\n';
    return fine;
  }
  print({{{"file"}, {authority.certificate_file()}},
         {{"subject"}, {authority.subject()}},
         {{"sha256"}, {authority.sha256()}},
         {{"expires"}, {expires}}},
        false);
  if (rotates) {
    // Nothing restarts a proxy but its operator: what it has opened goes on.
    if (const auto running = running_proxy(config, authority); !running)
      std::cerr << "The proxy at " << config.admin.to_string()
                << " goes on with the old one, here and at /ca.pem, until it is restarted.\n";
    std::cerr << "Restart running proxies, and clients that keep a copy of the old one.\n";
  }
  return fine;
}

}  // namespace ledger::cli
