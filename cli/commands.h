// One function a subcommand; each returns the process's exit code: 0 fine, 1 failed, 2 usage or
// config.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger::cli {

constexpr int fine = 0, failed = 1, usage = 2;

// The config of -c; without one ./ledger.yaml, or the built-in defaults where that is not there.
// Prints its mistakes, a line each; nullopt then.
struct LoadedConfig {
  Config config;
  std::string file;  // empty: the defaults
};
std::optional<LoadedConfig> load(const std::string& file);

int serve(const std::string& config_file);
int check(const std::string& config_file);

}  // namespace ledger::cli
