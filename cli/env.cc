// ledger env: for `eval "$(ledger env)"`, so that a shell's commands come through a running proxy.
#include <iostream>

#include "cli/commands.h"
#include "cli/environment.h"

namespace ledger::cli {
namespace {

// For any POSIX shell.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text)
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  return out + "'";
}

}  // namespace

int env(const EnvOptions& options) {
  const auto loaded = load(options.config);
  if (!loaded) return usage;
  const auto& config = loaded->config;
  const auto authority = CertificateAuthority::open(config);
  if (!authority) return refuse(authority.error());
  const auto running = running_proxy(config, **authority);
  if (!running) return refuse(running.error());
  const auto& listen = *running;
  if (!listen)
    return refuse(
        "no proxy with this config answers on " + config.admin.to_string() +
        " (its admin endpoint): start one with `ledger serve`, or use `ledger run -- CMD`");
  const auto variables =
      client_environment(config, *listen, {options.agent, options.run}, **authority);
  if (!variables) return refuse(variables.error());
  Json all;
  for (const auto& [name, value] : *variables) {
    if (options.json)
      all[name] = value;
    else
      std::cout << "export " << name << '=' << quoted(value) << '\n';
  }
  if (options.json) print_json(all);
  return fine;
}

}  // namespace ledger::cli
