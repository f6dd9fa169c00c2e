#include <CLI/CLI.hpp>

#include "cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app("ledger");
  std::string config;
  app.add_option("-c,--config", config);
  auto* serve = app.add_subcommand("serve");
  serve->add_option("-c,--config", config);
  CLI11_PARSE(app, argc, argv);
  return ledger::cli::serve(config);
}
