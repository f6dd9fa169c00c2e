#include "proxy/dns.h"

#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_map>

namespace ledger {
namespace {

namespace ip = asio::ip;

constexpr std::chrono::seconds thread_kept{10};  // with nothing to look up

std::optional<Addresses> without_asking(const std::string& host) {
  ErrorCode error;
  const auto literal = ip::make_address(host, error);
  if (!error) return Addresses{literal};
  // RFC 6761 section 6.3
  if (host == "localhost" || host.ends_with(".localhost"))
    return Addresses{ip::address_v4::loopback(), ip::address_v6::loopback()};
  return std::nullopt;
}

ip::address address_of(const sockaddr& from) {
  // An endpoint's own size() follows its family, which is in what is copied.
  ip::tcp::endpoint endpoint;
  const auto size = from.sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  std::memcpy(endpoint.data(), &from, size);
  return endpoint.address();
}

}  // namespace

LookupResult system_lookup(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (failed == EAI_NONAME || failed == EAI_NODATA) return tl::unexpected("no such host " + host);
  if (failed != 0) return tl::unexpected("cannot look up " + host + ": " + ::gai_strerror(failed));
  Addresses addresses;
  for (const auto* a = found; a != nullptr; a = a->ai_next)
    if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
      if (const auto address = address_of(*a->ai_addr);
          std::find(addresses.begin(), addresses.end(), address) == addresses.end())
        addresses.push_back(address);
  ::freeaddrinfo(found);
  if (addresses.empty()) return tl::unexpected("no address for " + host);
  return addresses;
}

struct NameLookup::Shared : std::enable_shared_from_this<Shared> {
  // One coroutine that waits; its timer is cancelled when the answer is there.
  struct Waiter {
    Waiter(asio::io_context& c, SteadyClock::time_point deadline) : timer(c, deadline) {}
    Timer timer;
    std::optional<LookupResult> result;
  };

  void begin(const std::string& host);
  void leave(const std::string& host, const std::shared_ptr<Waiter>& waiter);
  void work();
  void finish(const std::string& host, const LookupResult& result);

  Resolve resolve;
  // The io_context's own thread alone:
  std::unordered_map<std::string, std::vector<std::shared_ptr<Waiter>>> waiting;
  // Shared with the threads that look up:
  std::mutex mutex;
  asio::io_context* context = nullptr;  // null once nobody waits any more
  std::condition_variable wake;
  std::deque<std::string> hosts;
  std::size_t threads = 0, idle = 0;
};

NameLookup::NameLookup(asio::io_context& context, Resolve resolve)
    : shared_(std::make_shared<Shared>()) {
  shared_->context = &context;
  shared_->resolve = std::move(resolve);
}

NameLookup::~NameLookup() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->context = nullptr;
    shared_->hosts.clear();
    shared_->wake.notify_all();
  }
  shared_->waiting.clear();  // their timers must not outlive the io_context
}

Awaitable<LookupResult> NameLookup::lookup(std::string host, SteadyClock::time_point deadline) {
  if (auto known = without_asking(host)) co_return std::move(*known);
  const auto shared = shared_;
  const auto waiter = std::make_shared<Shared::Waiter>(*shared->context, deadline);
  const auto [at, first] = shared->waiting.try_emplace(host);
  at->second.push_back(waiter);
  if (first) shared->begin(host);
  if (!waiter->result) co_await waiter->timer.async_wait(use_result);
  if (waiter->result) co_return std::move(*waiter->result);
  shared->leave(host, waiter);
  co_return tl::unexpected("timed out looking up " + host);
}

// A look-up under way stays in `waiting`: whoever asks next joins it.
void NameLookup::Shared::leave(const std::string& host, const std::shared_ptr<Waiter>& waiter) {
  const auto found = waiting.find(host);
  if (found == waiting.end()) return;
  std::erase(found->second, waiter);
  if (!found->second.empty()) return;
  const std::lock_guard lock(mutex);
  if (std::erase(hosts, host) > 0) waiting.erase(found);
}

void NameLookup::Shared::begin(const std::string& host) {
  std::string given_up;
  {
    const std::lock_guard lock(mutex);
    if (hosts.size() >= queue_max) {
      given_up = std::move(hosts.front());
      hosts.pop_front();
    }
  }
  if (!given_up.empty())
    finish(given_up,
           tl::unexpected("cannot look up " + given_up + ", too many names are being looked up"));
  {
    const std::lock_guard lock(mutex);
    hosts.push_back(host);
    if (idle >= hosts.size()) return wake.notify_one();
    if (threads >= threads_max) return;  // one of them takes it
    ++threads;
  }
  try {
    std::thread([self = shared_from_this()] { self->work(); }).detach();
  } catch (const std::system_error& e) {
    {
      const std::lock_guard lock(mutex);
      if (--threads > 0) return;  // one of them takes it
      std::erase(hosts, host);
    }
    finish(host, tl::unexpected("cannot look up " + host + ": " + e.code().message()));
  }
}

// A look-up thread, until there has been nothing to look up for a while.
void NameLookup::Shared::work() {
  std::unique_lock lock(mutex);
  for (;;) {
    ++idle;
    wake.wait_for(lock, thread_kept, [this] { return !hosts.empty() || context == nullptr; });
    --idle;
    if (hosts.empty()) break;
    const auto host = std::move(hosts.back());
    hosts.pop_back();
    lock.unlock();
    auto result = resolve(host);
    lock.lock();
    if (context != nullptr)
      asio::post(*context, [self = shared_from_this(), host, found = std::move(result)] {
        self->finish(host, found);
      });
  }
  --threads;
}

void NameLookup::Shared::finish(const std::string& host, const LookupResult& result) {
  const auto found = waiting.find(host);
  if (found == waiting.end()) return;
  const auto waiters = std::move(found->second);
  waiting.erase(found);
  for (const auto& waiter : waiters) {
    waiter->result = result;
    waiter->timer.cancel();
  }
}

}  // namespace ledger
