// ledger check: is the config right?
#include <filesystem>
#include <iostream>

#include "cli/commands.h"
#include "cli/terminal.h"

namespace ledger::cli {
namespace {

void print_errors(const std::vector<ConfigError>& errors, bool json) {
  for (const auto& error : errors) {
    if (!json) {
      std::cerr << clean(error.to_string()) << '\n';
      continue;
    }
    Json j;
    j["file"] = error.file;
    j["line"] = error.line;
    j["column"] = error.column;
    j["message"] = error.message;
    print_json(j);
  }
}

// Guarding routes that take https calls from any host, of which only those in opened tunnels are
// seen.
std::vector<std::string> blind_in_part(const Config& config) {
  std::vector<std::string> names;
  const auto somewhere = parse_url("https://somewhere.invalid/");
  if (config.https.strict || config.https.open == HttpsRules::Open::all || !somewhere) return names;
  for (const auto& route : config.routes)
    if (route.policy.guarded && !route.pattern.names_host() && route.pattern.reaches(*somewhere))
      names.push_back(route.name);
  return names;
}

}  // namespace

int check(const CheckOptions& options) {
  std::error_code ignored;
  if (options.config.empty() && !std::filesystem::exists("ledger.yaml", ignored))
    return refuse(
        "there is no ledger.yaml here, so the built-in defaults apply; name a file with -c", usage);
  const auto file = options.config.empty() ? "ledger.yaml" : options.config;
  const auto config = load_config(file, process_environment);
  if (!config) {
    print_errors(config.error(), options.json);
    return usage;
  }
  const auto routes = config->routes.size(), mounts = config->mounts.size(),
             listeners = config->listeners.size();
  const auto blind = blind_in_part(*config);
  if (options.json) {
    print_json({{"file", file},
                {"routes", routes},
                {"mounts", mounts},
                {"listeners", listeners},
                {"tunnels", tunnels_in_words(*config)},
                {"blind_in_part", blind}});
    return fine;
  }
  std::cout << file << " is fine: " << counted(routes, "route") << ", " << counted(mounts, "mount")
            << ", " << counted(listeners, "listener") << '\n'
            << clean(tunnels_in_words(*config)) << '\n';
  for (const auto& name : blind)
    std::cout
        << "route " << clean(name)
        << " names no host: it guards http calls, mounts, own ports and opened tunnels; https "
           "calls in any other tunnel go by unseen\n";
  return fine;
}

}  // namespace ledger::cli
