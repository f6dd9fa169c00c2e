// What subcommands begin with: a config, a store, a record.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "cli/commands.h"
#include "cli/rows.h"
#include "cli/terminal.h"

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
  for (const auto& error : config.error()) std::cerr << error.to_string() << '\n';
  return std::nullopt;
}

tl::expected<std::unique_ptr<Store>, int> open_existing(const std::string& store,
                                                        const Common& common) {
  auto url = store;
  std::string endpoint = "on the address of `admin:`";
  if (url.empty()) {
    const auto loaded = load(common.config);
    if (!loaded) return tl::unexpected(usage);
    url = loaded->config.store_url;
    if (loaded->config.admin.port != 0)
      endpoint = "at http://" + loaded->config.admin.to_string() + "/api/records";
  }
  if (url == "memory:")
    return tl::unexpected(refuse(
        "the store memory: lives inside the proxy; ask its admin endpoint instead, " + endpoint));
  auto opened = open_store(url, true, false);
  if (!opened) return tl::unexpected(refuse(opened.error().message));
  std::this_thread::sleep_for(counts_behind);
  return std::move(*opened);
}

Query newest(std::size_t limit) {
  Query query;
  query.limit = limit;
  return query;
}

tl::expected<void, StoreError> each_record(Store& store, const std::function<bool(Record&)>& each) {
  auto query = newest(1000);
  do {
    auto page = store.scan(query);
    if (!page) return tl::unexpected(page.error());
    for (auto& record : page->records)
      if (!each(record)) return {};
    query.cursor = page->next;
  } while (query.cursor != 0);
  return {};
}

tl::expected<Digest, int> find_id(Store& store, const std::string& prefix) {
  if (const auto whole = from_hex(prefix)) return *whole;
  auto wanted = prefix;
  std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<Digest> found;
  const auto scanned = each_record(store, [&](Record& record) {
    if (to_hex(record.id).starts_with(wanted)) found.push_back(record.id);
    return true;
  });
  if (!scanned) return tl::unexpected(refuse(scanned.error().message));
  if (found.empty())
    return tl::unexpected(refuse("no record's id begins with " + prefix + "; see `ledger show`"));
  if (found.size() > 1)
    return tl::unexpected(refuse("the ids of " + std::to_string(found.size()) +
                                 " records begin with " + prefix + "; give more digits"));
  return found.front();
}

}  // namespace ledger::cli
