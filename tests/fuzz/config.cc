// ledger.yaml: whatever the bytes, settings or mistakes that say where they are; nothing is thrown.
#include "config/config.h"

#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

std::optional<std::string> environment(const std::string& name) {
  if (name == "HOME") return "/home/somebody";
  return name.starts_with('A') ? std::optional("value") : std::nullopt;
}

void check_mistakes(std::string_view text, const std::vector<ConfigError>& mistakes) {
  CHECK(!mistakes.empty());
  const auto lines =
      1 + std::count_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; });
  auto before = std::pair(0, 0);
  for (const auto& mistake : mistakes) {
    CAPTURE(mistake.to_string());
    const auto place = std::pair(mistake.line, mistake.column);
    CHECK(place.first >= 1);
    CHECK(place.second >= 1);
    CHECK(place.first <= lines);
    CHECK(place.second <= static_cast<int>(3 * text.size()) + 1);  // columns of its UTF-8
    CHECK(before <= place);
    CHECK(!mistake.message.empty());
    before = place;
  }
}

void check(std::string_view text) {
  const auto config = parse_config(text, "ledger.yaml", environment);
  if (!config) return check_mistakes(text, config.error());
  REQUIRE(!config->listeners.empty());
  for (std::size_t i = 0; i < config->routes.size(); ++i) {
    const auto& route = config->routes[i];
    CHECK(!route.name.empty());
    for (std::size_t j = 0; j < i; ++j) {
      CHECK(config->routes[j].name != route.name);
      CHECK_FALSE(config->routes[j].pattern.shadows(route.pattern));
    }
  }
  for (const auto& mount : config->mounts) {
    CHECK(normalise_path(mount.prefix) == mount.prefix);
    const auto mounted = mount_target(config->mounts, mount.prefix);
    REQUIRE(mounted);
    CHECK(mounted->mount->prefix == mount.prefix);
  }
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
