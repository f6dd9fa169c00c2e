// Connections to upstreams: name look-up, TCP, TLS with verified certificates, and a keep-alive
// pool.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <deque>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "fingerprint/url.h"
#include "proxy/dns.h"
#include "proxy/message.h"
#include "proxy/reach.h"
#include "proxy/stream.h"

namespace ledger {

struct UpstreamConnection {
  UpstreamConnection(Socket socket, Deadlines& deadlines, std::size_t head_max)
      : stream(std::move(socket), deadlines),
        reader(stream, MessageReader::Side::responses, head_max) {}
  Stream stream;
  MessageReader reader;
  std::string origin;   // the pool's key
  bool reused = false;  // has carried a call before
  // It is authenticated as one caller (see Head::binds_connection), and carries no other's calls.
  bool bound_to_caller = false;
  bool binds() { return bound_to_caller = bound_to_caller || reader.head().binds_connection; }
  SteadyClock::time_point idle_since{};
};
using UpstreamConnectionPtr = std::unique_ptr<UpstreamConnection>;

// No byte of a request has left: whoever gets this may say "not sent".
struct ConnectError {
  // For a person: "connection refused by 127.0.0.1:9", "certificate has expired", ...
  std::string why;
  bool lasting = false;  // another try would end in the same way
  NotReached reason = NotReached::failed;
};

// Our side of TLS towards upstreams.
struct UpstreamTls {
  std::shared_ptr<asio::ssl::context> verifying;  // trusts the system's roots and `tls.roots`
  std::shared_ptr<asio::ssl::context> insecure;   // believes anyone; null unless a mount asks
  // As `verifying`, and shows `tls.client_cert`; null without one. (`insecure` shows it too: its
  // hosts are mounts'.)
  std::shared_ptr<asio::ssl::context> presenting{};
};
// Error: names the file.
tl::expected<UpstreamTls, std::string> make_upstream_tls(const Config& config);

struct UpstreamAddress {
  const Url& url;
  bool insecure = false;    // the certificate is not verified
  bool configured = false;  // see Reach::refuses
};

// One for each io_context; not shared between threads.
class UpstreamPool {
 public:
  UpstreamPool(Deadlines& deadlines, UpstreamTls tls, const Config& config, const Reach& reach);

  enum class Freshness : std::uint8_t {
    any,      // pass-through: any idle connection that looks open
    guarded,  // a new one, or one idle for less than 1 s and just checked for EOF
    unused    // always a new one: a tunnel must not begin in the middle of somebody's HTTP
  };
  // `deadline` bounds look-up, connect and handshake together (and connect_timeout does). Every
  // address that may be reached is tried in turn, each with its share of the time that is left;
  // none is where one of them is our own.
  Awaitable<tl::expected<UpstreamConnectionPtr, ConnectError>> acquire(
      const UpstreamAddress& to, Freshness freshness, SteadyClock::time_point deadline);
  // Where connections to this address are kept; and one of them, where there is one.
  static std::string key(const UpstreamAddress& to);
  UpstreamConnectionPtr take_idle(const std::string& key, Freshness freshness);
  // Gives back a connection whose last exchange ended whole and keep-alive, with nothing buffered;
  // any other is closed, and so is one that is bound to a caller.
  void release(UpstreamConnectionPtr connection);
  // Closes idle connections older than 30 s; called by a timer of its own while any is idle.
  std::size_t idle() const;
  const Reach& reach() const { return reach_; }

 private:
  using Opened = tl::expected<UpstreamConnectionPtr, ConnectError>;
  struct Attempt;
  Awaitable<Opened> open(const UpstreamAddress& to, const Attempt& attempt, bool& try_next);
  std::optional<ConnectError> keep_allowed(const UpstreamAddress& to, Addresses& addresses) const;
  asio::ssl::context& tls_for(const UpstreamAddress& to) const;
  void sweep();
  Deadlines& deadlines_;
  UpstreamTls tls_;
  const Config& config_;
  const Reach& reach_;
  NameLookup names_;
  Timer sweeper_;
  bool sweeping_ = false;
  std::unordered_map<std::string, std::deque<UpstreamConnectionPtr>> idle_;
};

}  // namespace ledger
