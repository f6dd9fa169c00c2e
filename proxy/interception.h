// How the tunnels of guarded hosts are opened: our side of TLS towards clients, with a certificate
// signed for each host at its first use.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "guard/metrics.h"
#include "proxy/authority.h"
#include "proxy/net.h"

namespace ledger {

// Shared by all threads.
class Interception {
 public:
  Interception(std::shared_ptr<const CertificateAuthority> authority, Metrics& metrics);
  Interception(const Interception&) = delete;
  Interception& operator=(const Interception&) = delete;

  // TLS 1.2 and 1.3, HTTP/1.1 alone by ALPN, sessions resumed by tickets. Picks the certificate by
  // SNI, or where there is none by what was set with set_fallback_name.
  asio::ssl::context& context() { return context_; }
  // `host` must live as long as the handshake.
  static void set_fallback_name(SSL* ssl, const std::string& host);

  const CertificateAuthority& authority() const { return *authority_; }

  static constexpr std::size_t hosts_max = 512;  // certificates kept; the one used longest ago goes
  std::size_t hosts() const;

  // The certificate for `host`, signed now if there is none that lasts. nullptr: no valid name.
  std::shared_ptr<const Leaf> leaf(std::string host, std::chrono::system_clock::time_point now);

 private:
  struct Entry {
    std::string host;
    std::shared_ptr<const Leaf> leaf;
  };
  static int choose_certificate(SSL* ssl, void* self);

  const std::shared_ptr<const CertificateAuthority> authority_;
  asio::ssl::context context_;
  Metrics& metrics_;
  mutable std::mutex mutex_;  // held while signing: two clients of one new host need it once
  std::list<Entry> leaves_;   // the one used last is the first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> places_;  // by Entry::host
};

}  // namespace ledger
