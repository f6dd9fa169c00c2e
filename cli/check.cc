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
      std::cerr << error.to_string() << '\n';
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
  if (options.json)
    print_json({{"file", file}, {"routes", routes}, {"mounts", mounts}, {"listeners", listeners}});
  else
    std::cout << file << " is fine: " << counted(routes, "route") << ", "
              << counted(mounts, "mount") << ", " << counted(listeners, "listener") << '\n';
  return fine;
}

}  // namespace ledger::cli
