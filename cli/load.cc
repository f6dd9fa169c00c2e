// What subcommands begin with: a config, a store.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "config/state_files.h"
#include "proxy/authority.h"

namespace ledger::cli {
namespace {

// A running proxy writes its counts so far behind at most (25 ms, and the commit): who looks right
// after a call finds it counted.
constexpr std::chrono::milliseconds counts_behind{100};

}  // namespace

int refuse(const std::string& why, int code) {
  std::cout.flush();
  std::cerr << "ledger: " << clean(why) << '\n';
  return code;
}

void print_json(const Json& json) {
  static const bool ascii = is_terminal(1);
  std::cout << (ascii ? json.dump(-1, ' ', true, Json::error_handler_t::replace) : dump(json))
            << '\n';
}

std::optional<LoadedConfig> load(const std::string& file) {
  std::error_code ignored;
  if (file.empty() && !std::filesystem::exists("ledger.yaml", ignored))
    return LoadedConfig{default_config(), ""};
  const auto path = file.empty() ? "ledger.yaml" : file;
  auto config = load_config(path, process_environment);
  if (config) return LoadedConfig{std::move(*config), path};
  for (const auto& error : config.error()) std::cerr << clean(error.to_string()) << '\n';
  return std::nullopt;
}

tl::expected<std::unique_ptr<Store>, std::string> open_to_serve(
    const Config& config, const std::function<void(const std::string&)>& log) {
  if (auto safe = CertificateAuthority::check_place(config); !safe)
    return tl::unexpected(safe.error());
  if (config.store_url.starts_with("sqlite:" + state_file(config, "")))
    if (auto made = make_state_directory(config); !made) return tl::unexpected(made.error());
  std::vector<std::string> notices;
  auto store = open_store(config.store_url, config.durability == Durability::full, true, &notices);
  for (const auto& notice : notices) log(notice);
  if (!store) return tl::unexpected(store.error().message);
  return std::move(*store);
}

tl::expected<std::unique_ptr<Store>, int> open_existing(const StoreOptions& options) {
  auto url = options.store;
  std::string endpoint = "on the address of `admin:`";
  if (url.empty()) {
    const auto loaded = load(options.config);
    if (!loaded) return tl::unexpected(usage);
    url = loaded->config.store_url;
    if (loaded->config.admin.port != 0)
      endpoint = "at http://" + loaded->config.admin.to_string() + "/api/records";
  }
  if (url == "memory:")
    return tl::unexpected(refuse(
        "the store memory: lives inside the proxy; ask its admin endpoint instead, " + endpoint));
  std::vector<std::string> notices;
  auto opened = open_store(url, true, false, &notices);
  for (const auto& notice : notices) refuse(notice);
  if (!opened) return tl::unexpected(refuse(opened.error().message));
  std::this_thread::sleep_for(counts_behind);
  return std::move(*opened);
}

}  // namespace ledger::cli
