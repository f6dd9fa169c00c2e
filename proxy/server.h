// The running proxy: listeners, threads, this instance's lease, and the drain.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.h"
#include "guard/metrics.h"
#include "store/store.h"

namespace ledger {

class CertificateAuthority;

class Server {
 public:
  using Log = std::function<void(const std::string& line)>;
  using Authority = std::shared_ptr<const CertificateAuthority>;
  // Binds every listener (once, exclusively), joins the store as an instance and runs the threads.
  // `config`, `store` and `metrics` must outlive the server. `admin`: the admin endpoint's address
  // as bound, so that calls to it are seen as loops; empty: none. Error: one line for a person
  // ("127.0.0.1:8080 is in use ..."). `log` takes lines for the operator, from any thread.
  // `authority` signs for opened tunnels; none: the config's, opened here.
  static tl::expected<std::unique_ptr<Server>, std::string> start(const Config& config,
                                                                  Store& store, Metrics& metrics,
                                                                  const std::string& admin, Log log,
                                                                  Authority authority = nullptr);
  ~Server();

  // "127.0.0.1:8080", one a listener, in the configuration's order.
  std::vector<std::string> addresses() const;

  // How https tunnels of hosts that a route names are opened, for the log: "" where no route names
  // one.
  std::string tunnels() const;

  // Why fewer connections are taken at once than `limits` says, for the log; "": as many.
  std::string fewer_connections() const;

  // Refuses new calls, lets executions and answers finish (at most drain_timeout), then stops.
  void drain();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ledger
