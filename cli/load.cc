#include <filesystem>
#include <iostream>

#include "cli/commands.h"

namespace ledger::cli {

std::optional<LoadedConfig> load(const std::string& file) {
  std::error_code ignored;
  if (file.empty() && !std::filesystem::exists("ledger.yaml", ignored))
    return LoadedConfig{default_config(), ""};
  const auto path = file.empty() ? "ledger.yaml" : file;
  auto config = load_config(path, process_environment);
  if (config) return LoadedConfig{std::move(*config), path};
  for (const auto& error : config.error()) std::cerr << error.to_string() << '\n';
  return std::nullopt;
}

}  // namespace ledger::cli
