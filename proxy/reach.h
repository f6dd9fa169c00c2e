// Who may reach what: where calls may go, by name and by the address that is connected to, and by
// which names our listeners may be asked for.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "guard/problem.h"

namespace ledger {

// Constant after construction; any thread.
class Reach {
 public:
  // `own`: every address that we listen on, as bound. `config` must outlive it.
  Reach(const Config& config, std::vector<Endpoint> own);

  struct Refusal {
    NotReached reason;
    std::string why;  // for a person
  };
  // By the name alone, before anything is looked up or claimed. `configured`: the config names
  // this upstream for the way that the call came, a mount or an own port.
  std::optional<Refusal> refuses(const Url& url, bool configured) const;
  // By one of its addresses, right before connecting.
  std::optional<Refusal> refuses(const Url& url, const boost::asio::ip::address& address,
                                 bool configured) const;

  // Is this the upstream of a mount or a listener?
  bool is_configured(const Url& url) const;
  // May this host see `tls.client_cert`?
  bool sees_certificate(const Url& url) const;

 private:
  bool is_own(const IpAddress& address, std::uint16_t port) const;

  const Config& config_;
  const std::vector<Endpoint> own_;
};

// Is this host (of a Host or an Origin) `listener`: its address, localhost or one of `hosts`? No
// port: it was left out.
bool names_listener(const std::string& host, std::optional<std::uint16_t> port,
                    const Listener& listener, const Config& config);

}  // namespace ledger
