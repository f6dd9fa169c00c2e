// The local certificate authority: it signs a certificate for each host whose tunnels are opened.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.h"

namespace ledger {

struct OpensslFree {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
using Certificate = std::unique_ptr<X509, OpensslFree>;
using PrivateKey = std::unique_ptr<EVP_PKEY, OpensslFree>;

// A host's certificate, valid for a month. Its key is the authority's one leaf key.
struct Leaf {
  Certificate certificate;
  std::chrono::system_clock::time_point expires_at;
};

// Constant after construction: any thread may use it.
class CertificateAuthority {
 public:
  // The CA of `tls.ca`, or the one in the state directory: `ca-key.pem` (key and certificate, mode
  // 0600) and `ca.pem` (the certificate, for clients). Made there at first need; of several
  // processes that make it at once, one wins and all use it. Error: one line that names the file
  // and what to do.
  static tl::expected<std::unique_ptr<CertificateAuthority>, std::string> open(
      const Config& config);
  // Puts a new CA in the old one's place. Error also where the CA is the user's own (`tls.ca`).
  // `only_named`: it may sign for named_hosts(), and for those below them, alone (RFC 5280 section
  // 4.2.1.10).
  static tl::expected<std::unique_ptr<CertificateAuthority>, std::string> rotate(
      const Config& config, bool only_named = false);
  // Is nobody but this user able to put another CA in its place? Error: as open()'s. What is not
  // there yet is fine.
  static tl::expected<void, std::string> check_place(const Config& config);

  // Signs for `host` (a DNS name, or an IP address with or without brackets).
  Leaf sign(const std::string& host, std::chrono::system_clock::time_point now) const;
  // Those of named_hosts() that it may not sign for, by its own name constraints.
  std::vector<std::string> beyond(const Config& config) const;
  EVP_PKEY* leaf_key() const { return leaf_key_.get(); }
  // What a server sends behind its leaf: the CA and its chain, unless the CA is a root itself.
  STACK_OF(X509) * chain() const { return chain_.get(); }

  const std::string& certificate_file() const { return file_; }  // for clients to trust
  const std::string& certificate_pem() const { return pem_; }
  std::string sha256() const;   // fingerprint, "AB:CD:..."
  std::string subject() const;  // "CN=Ledger local CA 1a2b3c4d"
  std::chrono::system_clock::time_point expires_at() const;

 private:
  struct FreeChain {
    void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
  };
  CertificateAuthority() = default;
  bool may_sign(const std::string& host) const;
  static tl::expected<std::unique_ptr<CertificateAuthority>, std::string> load(
      const std::string& certificate_file, const std::string& key_file, const std::string& key);

  Certificate certificate_;
  PrivateKey key_;
  PrivateKey leaf_key_;
  std::unique_ptr<STACK_OF(X509), FreeChain> chain_;
  std::string file_, pem_;
};

}  // namespace ledger
