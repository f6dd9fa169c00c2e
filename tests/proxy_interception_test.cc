// The local CA, the certificates that it signs, and what a tunnel's first bytes are taken for.
#include <doctest/doctest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "proxy/interception.h"

using namespace ledger;
using std::chrono::hours;
using std::chrono::system_clock;

namespace {

struct Place {
  Place() {
    char pattern[] = "/tmp/ledger-ca-XXXXXX";
    folder = ::mkdtemp(pattern);
    config.state_dir = folder + "/deep/state";
  }
  ~Place() { std::filesystem::remove_all(folder); }
  std::unique_ptr<CertificateAuthority> authority() const {
    auto opened = CertificateAuthority::open(config);
    REQUIRE_MESSAGE(opened.has_value(), opened.error());
    return std::move(*opened);
  }
  std::string folder;
  Config config;
};

FirstBytes look(std::string_view bytes) {
  std::string name;
  return look_at(bytes, 65'536, name);
}

// A client's first flight to `name`.
std::string client_hello(const char* name) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  if (name != nullptr) SSL_set_tlsext_host_name(ssl.get(), name);
  SSL_connect(ssl.get());
  char* data = nullptr;
  const auto size = BIO_get_mem_data(out, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

TEST_CASE("of many that make the CA at once, one wins and all have the same") {
  const Place place;
  std::vector<std::string> seen(16);
  {
    std::vector<std::jthread> threads;
    for (auto& pem : seen)
      threads.emplace_back([&] { pem = place.authority()->certificate_pem(); });
  }
  for (const auto& pem : seen) CHECK(pem == seen.front());
  CHECK_FALSE(seen.front().empty());
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& file :
       std::filesystem::directory_iterator(place.config.state_dir))
    ++files;
  CHECK(files == 2);
}

TEST_CASE("a key that others can read, a broken one and one of another CA are refused by name") {
  const Place place, other;
  const auto key = place.config.state_dir + "/ca-key.pem";
  static_cast<void>(place.authority());
  std::filesystem::permissions(key, std::filesystem::perms(0644));
  CHECK(
      CertificateAuthority::open(place.config).error().starts_with(key + " can be read by others"));
  REQUIRE(CertificateAuthority::rotate(place.config).has_value());
  static_cast<void>(place.authority());
  std::ofstream(key) << "nonsense";
  CHECK(CertificateAuthority::open(place.config).error().starts_with(key + ": no private key"));

  static_cast<void>(other.authority());
  Config mixed;
  REQUIRE(CertificateAuthority::rotate(place.config).has_value());
  mixed.tls_ca = place.config.state_dir + "/ca.pem";
  mixed.tls_ca_key = other.config.state_dir + "/ca-key.pem";
  CHECK(CertificateAuthority::open(mixed).error().find("does not belong to the key") !=
        std::string::npos);
  CHECK_FALSE(CertificateAuthority::rotate(mixed).has_value());
}

TEST_CASE("a leaf is for its host alone, from a day ago and for a month") {
  const Place place;
  const auto authority = place.authority();
  const auto now = system_clock::now();
  for (const auto* host : {"api.example.com", "127.0.0.1", "[::1]"}) {
    CAPTURE(host);
    const auto leaf = authority->sign(host, now);
    auto* const c = leaf.certificate.get();
    const bool name = std::string_view(host) == "api.example.com";
    CHECK((X509_check_host(c, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1) == name);
    const auto bare = std::string_view(host) == "[::1]" ? "::1" : host;
    CHECK((X509_check_ip_asc(c, bare, 0) == 1) == !name);
    CHECK(X509_check_host(c, "other.example.com", 0, 0, nullptr) != 1);
    CHECK(leaf.expires_at - now <= hours(24 * 30));
    CHECK(X509_cmp_time(X509_get0_notBefore(c), nullptr) < 0);
  }
  // A name longer than a common name may be.
  std::string host(60, 'a');
  host += ".example.com";
  CHECK(X509_check_host(authority->sign(host, now).certificate.get(), host.c_str(), 0, 0,
                        nullptr) == 1);
}

TEST_CASE("a certificate is signed once for a host, anew before it expires, and within bounds") {
  const Place place;
  Metrics metrics;
  Interception interception(place.authority(), metrics);
  const auto now = system_clock::now();
  const auto first = interception.leaf("API.example.com", now);
  CHECK(interception.leaf("api.example.com", now + hours(24 * 22)) == first);
  CHECK(metrics.certificates_signed == 1);
  const auto renewed = interception.leaf("api.example.com", now + hours(24 * 24));
  CHECK(renewed != first);
  CHECK(renewed->expires_at > first->expires_at);

  for (int i = 0; i < 1000; ++i) {
    interception.leaf("h" + std::to_string(i) + ".example.com", now);
    interception.leaf("api.example.com", now + hours(24 * 24));  // used all the while: it stays
  }
  CHECK(interception.hosts() == Interception::hosts_max);
  CHECK(interception.leaf("api.example.com", now + hours(24 * 24)) == renewed);
  // What could mean more than one name.
  for (const auto* wrong : {"", "a,DNS:b", "a b", "a\nb", "*.example.com", "b\xc3\xbc.example"})
    CHECK(interception.leaf(wrong, now) == nullptr);
}

TEST_CASE("a request line is HTTP once it is whole, and only as far as it can be one") {
  CHECK(look("") == FirstBytes::undecided);
  const std::string_view line = "POST /v1/charges HTTP/1.1\r\n";
  constexpr std::size_t to_target = 6;  // "POST /"
  for (std::size_t n = 1; n < line.size(); ++n)
    CHECK(look(line.substr(0, n)) == (n < to_target ? FirstBytes::undecided : FirstBytes::begun));
  CHECK(look(line) == FirstBytes::http);
  CHECK(look("GET http://a/ HTTP/1.0\r\n") == FirstBytes::http);
  CHECK(look("OPTIONS * HTTP/1.1\r\nHost: a\r\n") == FirstBytes::http);
  for (const auto* other : {"SSH-2.0-OpenSSH\r\n", "EHLO me\r\n", "HELO x", "\x05\x01",
                            "get / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "PASS /secret\r\n",
                            "STARTTLS\r\n", " GET / HTTP/1.1\r\n", "GET ftp://a HTTP/1.1\r\n"})
    CHECK_MESSAGE(look(other) == FirstBytes::other, other);
  CHECK(look(std::string(100, 'A')) == FirstBytes::other);
  std::string name;
  CHECK(look_at("GET /" + std::string(5000, 'a'), 4096, name) == FirstBytes::http);
}

TEST_CASE("a ClientHello is TLS once it is whole, and says whom it is for") {
  const auto hello = client_hello("api.example.com");
  std::string name;
  for (std::size_t n = 1; n < hello.size(); ++n)
    CHECK(look_at(std::string_view(hello).substr(0, n), 65'536, name) == FirstBytes::begun);
  CHECK(look_at(std::string_view(hello).substr(0, 100), 64, name) == FirstBytes::tls);
  CHECK(look_at(hello, 65'536, name) == FirstBytes::tls);
  CHECK(name == "api.example.com");
  CHECK(look_at(client_hello(nullptr), 65'536, name) == FirstBytes::tls);
  CHECK(name.empty());
  CHECK(look("\x16\x03\x01nonsense that is no hello, at some length, so that a record is whole") !=
        FirstBytes::tls);
  CHECK(look(std::string("\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9)) == FirstBytes::other);
}
