// The admin endpoint: its own listener and thread, so that a slow reader never touches a call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "config/config.h"
#include "guard/metrics.h"
#include "store/store.h"

namespace ledger {

class CertificateAuthority;

class AdminServer {
 public:
  // A line for the operator's log: who changed what. May be called from any thread.
  using Log = std::function<void(const std::string& line)>;
  // Binds at once. Error: one line that names the address ("127.0.0.1:9090 is in use: ...").
  // `config`, `store` and `metrics` must outlive the server. `authority`: what the proxy signs
  // with, for /ca.pem; none: the config's, as it is then.
  static tl::expected<std::unique_ptr<AdminServer>, std::string> start(
      const Config& config, Store& store, const Metrics& metrics, Log log = {},
      std::shared_ptr<const CertificateAuthority> authority = nullptr);
  ~AdminServer();               // stops and joins
  std::string address() const;  // host:port as bound

 private:
  struct Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ledger
