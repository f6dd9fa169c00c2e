// The local CA, the certificates that it signs, and what a tunnel's first bytes are taken for.
#include <doctest/doctest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "proxy/first_bytes.h"
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

// All at once; and byte by byte, which must say the same.
FirstBytes look(std::string_view bytes, std::string* name = nullptr,
                std::size_t bytes_max = 65'536) {
  FirstLook once(bytes_max), slowly(bytes_max);
  const auto seen = once.at(bytes);
  auto last = FirstBytes::undecided;
  for (std::size_t n = 1; n <= bytes.size(); ++n) last = slowly.at(bytes.substr(0, n));
  CHECK(last == seen);
  CHECK(slowly.server_name() == once.server_name());
  if (name != nullptr) *name = once.server_name();
  return seen;
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

TEST_CASE("what some server could take for a request line is HTTP once it is whole") {
  CHECK(look("") == FirstBytes::undecided);
  const std::string_view line = "POST /v1/charges HTTP/1.1\r\n";
  for (std::size_t n = 1; n < line.size(); ++n)
    CHECK(look(line.substr(0, n)) == FirstBytes::undecided);
  for (const auto* http :
       {"POST /v1/charges HTTP/1.1\r\n", "GET http://a/ HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n", "get / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n",
        "\r\n\r\n\nGET / HTTP/1.1\r\n", "GET  /  HTTP/1.1 \r\n", "GET\t/ HTTP/1.1\n", "POST /x\r\n",
        "POST HTTPS://a/x\r\n", "POST x http/1.1\r\n", "POST\rx HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSN", "PASS /secret\r\n", "GET ftp://a HTTP/1.1\r\n"})
    CHECK_MESSAGE(look(http) == FirstBytes::http, http);
  CHECK(look(std::string_view("POST /\0 HTTP/1.1\r\n", 19)) == FirstBytes::http);
  for (const auto* other : {"SSH-2.0-OpenSSH\r\n", "EHLO me\r\n", "\x05\x01", "STARTTLS\r\n",
                            "<?xml", "*1\r\n$4\r\nPING\r\n", "a1 LOGIN x y\r\n", "GET\r\n",
                            "GET \r\n", "CONNECT {\"lang\":\"http/1\"}\r\n", "\x16\x02"})
    CHECK_MESSAGE(look(other) == FirstBytes::other, other);
  CHECK(look(std::string_view("0032git-upload-pack /project.git\0host=h\0", 40)) ==
        FirstBytes::other);
  CHECK(look("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == FirstBytes::http2);
  CHECK(look("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore") == FirstBytes::http2);
  for (const auto* waits :
       {"P", "HELLO", "HELO x", "PRI * HTTP/2.0\r\n\r\n", "\r\n", "\x16", "\x16\x03\x01"})
    CHECK_MESSAGE(look(waits) == FirstBytes::undecided, waits);
  // Longer than a head may be: for its own reader to refuse.
  CHECK(look("GET /" + std::string(5000, 'a'), nullptr, 4096) == FirstBytes::http);
  CHECK(look(std::string(5000, 'A'), nullptr, 4096) == FirstBytes::http);
}

TEST_CASE("a ClientHello is TLS once it is whole, and says whom it is for") {
  const auto hello = client_hello("API.example.com.");
  std::string name;
  for (std::size_t n = 1; n < hello.size(); n += 7)
    CHECK(look(std::string_view(hello).substr(0, n)) == FirstBytes::undecided);
  CHECK(look(std::string_view(hello).substr(0, 100), nullptr, 64) == FirstBytes::refused);
  CHECK(look(hello, &name) == FirstBytes::tls);
  CHECK(name == "api.example.com");
  CHECK(look(client_hello(nullptr), &name) == FirstBytes::tls);
  CHECK(name.empty());
  for (const auto* wrong : {"a b.example.com", "a@b.example.com", "[.example.com", ".example.com",
                            "a..b", "a:b", "*.b"})
    CHECK_MESSAGE(look(client_hello(wrong), &name) == FirstBytes::refused, wrong);
  CHECK(look("\x16\x03\x01nonsense that is no hello, at some length, so that a record is whole") !=
        FirstBytes::tls);
  CHECK(look(std::string("\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9)) == FirstBytes::refused);
}

TEST_CASE("a host name is what can be looked up and means one name") {
  for (const auto* name : {"a", "API.example.com", "a_b-c.d", "127.0.0.1", "[::1]", "[2001:db8::1]",
                           "xn--bcher-kva.example"})
    CHECK_MESSAGE(is_host_name(name), name);
  for (const auto* wrong : {"", ".", ".a", "a..b", "a b", "a/b", "a:1", "::1", "[::1", "[::1]x",
                            "[a]", "*.a", "b\xc3\xbc", "a%2e"})
    CHECK_FALSE_MESSAGE(is_host_name(wrong), wrong);
  CHECK_FALSE(is_host_name(std::string(254, 'a')));
}
