// Host names to addresses, on a few threads of their own: getaddrinfo blocks, for half a minute
// where a name server is silent, and one such name must not hold up the others.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <functional>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "proxy/net.h"

namespace ledger {

using Addresses = std::vector<asio::ip::address>;
// Error: one sentence for a person.
using LookupResult = tl::expected<Addresses, std::string>;

// getaddrinfo(3). Blocks.
LookupResult system_lookup(const std::string& host);

// One for each io_context; not shared between threads.
class NameLookup {
 public:
  using Resolve = std::function<LookupResult(const std::string& host)>;
  static constexpr std::size_t threads_max = 16;  // look-ups at once
  static constexpr std::size_t queue_max = 256;   // names that wait for a thread
  explicit NameLookup(asio::io_context& context, Resolve resolve = system_lookup);
  ~NameLookup();  // does not wait for look-ups under way: what they find is dropped
  NameLookup(const NameLookup&) = delete;
  NameLookup& operator=(const NameLookup&) = delete;

  // Addresses in the order to try them; IP literals (without brackets) and localhost at once.
  // Calls for the same host share one look-up. Nothing is cached. Of the names that wait for a
  // thread the newest is next, since its caller waits longest yet, and the oldest gives way where
  // they are too many; one that nobody waits for any more is not looked up.
  Awaitable<LookupResult> lookup(std::string host, SteadyClock::time_point deadline);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace ledger
