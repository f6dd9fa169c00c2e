#include <algorithm>
#include <cctype>

#include "store/memory.h"
#include "store/sqlite.h"
#include "store/store.h"

namespace ledger {
namespace {

// The part before the first colon, where it looks like a URL's scheme (RFC 3986, section 3.1).
std::string scheme_of(const std::string& url) {
  const auto colon = url.find(':');
  if (colon == std::string::npos || colon == 0) return "";
  auto scheme = url.substr(0, colon);
  const auto fits = [](unsigned char c) {
    return std::isalnum(c) || c == '+' || c == '-' || c == '.';
  };
  if (!std::isalpha(static_cast<unsigned char>(scheme[0])) ||
      !std::all_of(scheme.begin(), scheme.end(), fits))
    return "";
  return scheme;
}

// sqlite:PATH; also sqlite:///ABSOLUTE/PATH, as other tools write it.
std::string path_of(const std::string& url) {
  auto path = url.substr(std::string("sqlite:").size());
  if (path.starts_with("///")) path.erase(0, 2);
  return path;
}

tl::unexpected<StoreError> refuse(std::string message) {
  return tl::unexpected(StoreError{std::move(message), false});
}

constexpr const char* accepted = "write memory:, sqlite:PATH or a path";

}  // namespace

tl::expected<std::unique_ptr<Store>, StoreError> open_store(const std::string& url,
                                                            bool full_durability, bool create,
                                                            std::vector<std::string>* notices) {
  const auto scheme = scheme_of(url);
  if (url == ":memory:") return refuse("the store \":memory:\" is written memory: here");
  if (scheme == "memory") {
    if (url != "memory:") return refuse("the store " + url + " takes nothing after memory:");
    if (!create)
      return refuse(
          "the store memory: lives only inside the proxy: ask its admin endpoint instead");
    return make_memory_store();
  }
  if (scheme == "postgres" || scheme == "postgresql" || scheme == "redis" || scheme == "rediss")
    return refuse("the store " + scheme + ": is not supported yet: " + accepted);
  if (!scheme.empty() && scheme != "sqlite")
    return refuse("the store " + url + " has the unknown scheme " + scheme + ": " + accepted +
                  " (a file of that name is ./" + url + ")");

  const auto path = scheme == "sqlite" ? path_of(url) : url;
  if (path.starts_with("//")) return refuse("the store " + url + " names a host: " + accepted);
  SqliteOptions options;
  options.full_durability = full_durability;
  options.create = create;
  options.notices = notices;
  auto opened = SqliteStore::open(path, options);
  if (!opened) return tl::unexpected(opened.error());
  return std::unique_ptr<Store>(std::move(*opened));
}

}  // namespace ledger
