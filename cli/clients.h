// The clients that `ledger doctor` looks for: one entry each, and no code.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ledger::cli {

// In `call` and `variables`, {url} stands for the address to call and {folder} for a directory of
// the probe's own. In advice, {bundle} and {ca} are files to trust, {host} and {port} the proxy's.
struct Client {
  std::string name;
  std::string program;              // looked for on PATH
  std::vector<std::string> exists;  // its arguments; not there unless they exit 0. Empty: no need
  std::vector<std::string> call;    // its arguments for one call; what it answers does not matter
  std::vector<std::pair<std::string, std::string>> variables;
  std::string when_bypassed, when_refused;  // what to set, one line
};

const std::vector<Client>& known_clients();

// Fills a placeholder in.
void replace_all(std::string& text, const std::string& what, const std::string& by);

}  // namespace ledger::cli
