// Certificates made while a test runs; none is checked in.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "proxy/net.h"

namespace ledger::test {

struct Free {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
};

struct Identity {
  std::unique_ptr<EVP_PKEY, Free> key;
  std::unique_ptr<X509, Free> certificate;
};

struct Wanted {
  std::string name = "localhost";
  std::string alternatives;  // "DNS:localhost,IP:127.0.0.1"; empty: none
  bool authority = false;
  int from_days = -1, to_days = 1;
};

inline void add_extension(X509* certificate, int id, const std::string& value) {
  auto* extension = X509V3_EXT_conf_nid(nullptr, nullptr, id, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`, or by itself.
inline Identity make_identity(const Wanted& wanted, const Identity* issuer = nullptr) {
  static long serial = 1;
  Identity made{std::unique_ptr<EVP_PKEY, Free>(EVP_EC_gen("P-256")),
                std::unique_ptr<X509, Free>(X509_new())};
  auto* const c = made.certificate.get();
  X509_set_version(c, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
  X509_gmtime_adj(X509_getm_notBefore(c), wanted.from_days * 86'400L);
  X509_gmtime_adj(X509_getm_notAfter(c), wanted.to_days * 86'400L);
  X509_set_pubkey(c, made.key.get());
  const auto* text = reinterpret_cast<const unsigned char*>(wanted.name.c_str());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, text, -1, -1, 0);
  const auto& by = issuer != nullptr ? *issuer : made;
  X509_set_issuer_name(c, X509_get_subject_name(by.certificate.get()));
  if (wanted.authority) add_extension(c, NID_basic_constraints, "critical,CA:TRUE");
  if (!wanted.alternatives.empty()) add_extension(c, NID_subject_alt_name, wanted.alternatives);
  X509_sign(c, by.key.get(), EVP_sha256());
  return made;
}

inline std::string pem_of(const Identity& identity) {
  const std::unique_ptr<BIO, Free> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), identity.certificate.get());
  char* data = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

inline std::shared_ptr<asio::ssl::context> server_context(const Identity& identity) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX_use_certificate(context->native_handle(), identity.certificate.get());
  SSL_CTX_use_PrivateKey(context->native_handle(), identity.key.get());
  return context;
}

inline std::shared_ptr<asio::ssl::context> client_context(const Identity& trusted) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  context->set_verify_mode(asio::ssl::verify_peer);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context->native_handle()), trusted.certificate.get());
  return context;
}

}  // namespace ledger::test
