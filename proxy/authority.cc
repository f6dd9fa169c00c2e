#include "proxy/authority.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <filesystem>
#include <stdexcept>

#include "config/state_files.h"

namespace ledger {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;
namespace fs = std::filesystem;

constexpr hours authority_lifetime{24 * 365 * 10};
// Today's clients take at most 398 days, the strictest 200; it is made anew long before.
constexpr hours leaf_lifetime{24 * 30};
constexpr hours clock_skew{24};              // of a client behind us
constexpr std::size_t common_name_max = 64;  // RFC 5280 appendix A.1
constexpr auto key_name = "ca-key.pem", certificate_name = "ca.pem";

struct FreeBio {
  void operator()(BIO* p) const { BIO_free(p); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

// What can only fail for want of memory or by a mistake of ours.
template <class T>
T must(T result) {
  if (!result) throw std::runtime_error("OpenSSL: " + std::to_string(ERR_get_error()));
  return result;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const Bio out(must(BIO_new(BIO_s_mem())));
  must(PEM_write_bio_X509(out.get(), certificate));
  return text_of(out.get());
}

std::string pem_of(EVP_PKEY* key) {
  const Bio out(must(BIO_new(BIO_s_mem())));
  must(PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr));
  return text_of(out.get());
}

void set_time(ASN1_TIME* time, system_clock::time_point t) {
  must(ASN1_TIME_set(time, system_clock::to_time_t(t)));
}

system_clock::time_point time_of(const ASN1_TIME* time) {
  std::tm tm{};
  ASN1_TIME_to_tm(time, &tm);
  return system_clock::from_time_t(::timegm(&tm));
}

void add_extension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  auto* const extension = must(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

void add_name(X509_NAME* name, const char* field, const std::string& value) {
  must(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1,
                                  0));
}

// A certificate with a random serial number (RFC 5280 section 4.1.2.2: positive, up to 20 octets).
Certificate blank(EVP_PKEY* key, system_clock::time_point from, system_clock::time_point to) {
  Certificate made(must(X509_new()));
  auto* const c = made.get();
  must(X509_set_version(c, X509_VERSION_3));
  unsigned char serial[16];
  must(RAND_bytes(serial, sizeof serial));
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7F) | 0x40);
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> number(
      must(BN_bin2bn(serial, sizeof serial, nullptr)), BN_free);
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(c)));
  set_time(X509_getm_notBefore(c), from);
  set_time(X509_getm_notAfter(c), to);
  must(X509_set_pubkey(c, key));
  return made;
}

PrivateKey new_key() { return PrivateKey(must(EVP_EC_gen("P-256"))); }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
// OpenSSL 3 puts a key into a certificate by way of its encoders and decoders, which costs four
// times what the signature does. One made by the older interface is spared that.
PrivateKey new_leaf_key() {
  const std::unique_ptr<EC_KEY, decltype(&EC_KEY_free)> pair(
      must(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1)), EC_KEY_free);
  must(EC_KEY_generate_key(pair.get()));
  PrivateKey key(must(EVP_PKEY_new()));
  must(EVP_PKEY_set1_EC_KEY(key.get(), pair.get()));
  return key;
}
#pragma GCC diagnostic pop

std::string random_hex() {
  unsigned char bytes[4];
  must(RAND_bytes(bytes, sizeof bytes));
  char text[9];
  std::snprintf(text, sizeof text, "%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3]);
  return text;
}

// Does the text of a host stand for an IP address?
bool is_address(const std::string& bare) {
  boost::system::error_code error;
  boost::asio::ip::make_address(bare, error);
  return !error;
}

std::string without_brackets(const std::string& host) {
  const bool bracketed = host.size() > 2 && host.front() == '[';
  return bracketed ? host.substr(1, host.size() - 2) : host;
}

// "permitted;DNS:api.example.com,...": a name stands for all below it too. Addresses are closed as
// a whole where none is named, since a constraint of one kind says nothing of the other.
std::string name_constraints(const std::vector<std::string>& hosts) {
  std::string text =
      "critical,permitted;DNS:ledger.invalid";  // `ledger doctor` visits a host there
  bool addresses = false;
  for (const auto& host : hosts) {
    const auto bare = without_brackets(host.starts_with("*.") ? host.substr(2) : host);
    const bool address = is_address(bare);
    const bool v6 = bare.find(':') != bare.npos;
    addresses = addresses || address;
    text += (address ? ",permitted;IP:" : ",permitted;DNS:") + bare;
    if (address) text += v6 ? "/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" : "/255.255.255.255";
  }
  if (!addresses) text += ",excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:::/::";
  return text;
}

// Key and certificate of a new CA, as one PEM text; for `hosts` alone where there are any.
std::string make_authority(const std::vector<std::string>& hosts = {}) {
  const auto key = new_key();
  const auto now = system_clock::now();
  const auto made = blank(key.get(), now - clock_skew, now + authority_lifetime);
  auto* const c = made.get();
  auto* const name = X509_get_subject_name(c);
  add_name(name, "O", "Ledger");
  // Told from an earlier one by its number: clients look a CA up by its name.
  add_name(name, "CN", "Ledger local CA " + random_hex());
  must(X509_set_issuer_name(c, name));
  add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign");
  if (!hosts.empty()) add_extension(c, c, NID_name_constraints, name_constraints(hosts));
  add_extension(c, c, NID_subject_key_identifier, "hash");
  must(X509_sign(c, key.get(), EVP_sha256()));
  return pem_of(key.get()) + pem_of(c);
}

tl::expected<std::string, std::string> read_key(const Config& config) {
  if (!config.tls_ca_key.empty())
    return read_secret(config.tls_ca_key, 055,
                       ", who could then pose as any host: let it be this user's alone");
  if (auto safe = check_state_directory(config); !safe) return tl::unexpected(safe.error());
  return read_secret(state_file(config, key_name), 0,
                     ", who could then pose as any host: make a new CA with `ledger ca rotate`");
}

bool has_own_key(const Config& config) {
  std::error_code error;
  return fs::exists(state_file(config, key_name), error);
}

// "DNS:api.example.com" or "IP:127.0.0.1".
std::string alternative_name(const std::string& host) {
  const auto bare = without_brackets(host);
  return (is_address(bare) ? "IP:" : "DNS:") + bare;
}

}  // namespace

tl::expected<std::unique_ptr<CertificateAuthority>, std::string> CertificateAuthority::load(
    const std::string& certificate_file, const std::string& key_file, const std::string& key) {
  std::unique_ptr<CertificateAuthority> made(new CertificateAuthority);
  const auto certificates = read_file(certificate_file);
  if (!certificates) return tl::unexpected(certificates.error());
  const auto refuse = [&](const std::string& file, const std::string& why) {
    ERR_clear_error();
    return tl::unexpected(file + ": " + why);
  };

  const Bio key_text(must(BIO_new_mem_buf(key.data(), static_cast<int>(key.size()))));
  made->key_.reset(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (!made->key_) return refuse(key_file, "no private key in it (PEM, without a pass phrase)");

  const Bio text(
      must(BIO_new_mem_buf(certificates->data(), static_cast<int>(certificates->size()))));
  made->certificate_.reset(PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
  auto* const c = made->certificate_.get();
  if (c == nullptr) return refuse(certificate_file, "no certificate in it (PEM)");
  if (X509_check_ca(c) == 0) return refuse(certificate_file, "its certificate is not a CA's");
  if (X509_check_private_key(c, made->key_.get()) != 1)
    return refuse(certificate_file, "its certificate does not belong to the key in " + key_file);
  if (made->expires_at() < system_clock::now())
    return refuse(certificate_file, "the CA has expired; make a new one with `ledger ca rotate`");

  made->chain_.reset(must(sk_X509_new_null()));
  const bool root = X509_self_signed(c, 0) == 1;
  if (!root && X509_up_ref(c) == 1) sk_X509_push(made->chain_.get(), c);
  while (auto* const more = PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr))
    if (X509_self_signed(more, 0) == 1)
      X509_free(more);
    else
      sk_X509_push(made->chain_.get(), more);
  ERR_clear_error();  // the end of the file

  made->leaf_key_ = new_leaf_key();
  made->file_ = certificate_file;
  made->pem_ = pem_of(c);
  return made;
}

tl::expected<std::unique_ptr<CertificateAuthority>, std::string> CertificateAuthority::open(
    const Config& config) {
  const bool users = !config.tls_ca.empty();
  const auto key_file = users ? config.tls_ca_key : state_file(config, key_name);
  const auto file = users ? config.tls_ca : state_file(config, certificate_name);
  if (!users && !has_own_key(config)) {
    if (auto made = make_state_directory(config); !made) return tl::unexpected(made.error());
    if (auto made = make_file(key_file, make_authority(), 0600); !made)
      return tl::unexpected(made.error());
  }
  const auto key = read_key(config);
  if (!key) return tl::unexpected(key.error());
  auto opened = load(users ? file : key_file, key_file, *key);
  if (!opened || users) return opened;
  (*opened)->file_ = file;
  // What clients trust follows from the key's file; it alone is never believed.
  if (const auto there = read_file(file);
      !there || *there != (*opened)->pem_ || !is_ours_alone(file))
    if (auto written = replace_file(file, (*opened)->pem_, 0644); !written)
      return tl::unexpected(written.error());
  return opened;
}

tl::expected<void, std::string> CertificateAuthority::check_place(const Config& config) {
  if (config.tls_ca.empty() && !has_own_key(config)) return check_state_directory(config);
  return read_key(config).map([](const std::string&) {});
}

tl::expected<std::unique_ptr<CertificateAuthority>, std::string> CertificateAuthority::rotate(
    const Config& config, bool only_named) {
  if (!config.tls_ca.empty())
    return tl::unexpected(config.tls_ca + " is your own (`tls.ca`): put another file there");
  if (auto made = make_state_directory(config); !made) return tl::unexpected(made.error());
  const auto hosts = only_named ? named_hosts(config) : std::vector<std::string>();
  if (only_named && config.https.open == HttpsRules::Open::all)
    return tl::unexpected<std::string>(
        "`https.open: all` opens every host, which a CA for some could not sign for");
  if (only_named && hosts.empty())
    return tl::unexpected<std::string>(
        "no https route names a host: there is nothing that the CA could sign");
  const auto made = replace_file(state_file(config, key_name), make_authority(hosts), 0600);
  if (!made) return tl::unexpected(made.error());
  return open(config);
}

Leaf CertificateAuthority::sign(const std::string& host, system_clock::time_point now) const {
  auto* const issuer = certificate_.get();
  const auto from = std::max(now - clock_skew, time_of(X509_get0_notBefore(issuer)));
  const auto to = std::min(now + leaf_lifetime, expires_at());
  Leaf leaf{blank(leaf_key_.get(), from, to), to};
  auto* const c = leaf.certificate.get();
  must(X509_set_issuer_name(c, X509_get_subject_name(issuer)));
  // Clients look at subjectAltName alone; where there is no subject beside it, it is critical
  // (RFC 5280 section 4.2.1.6).
  // An address in its place would be taken for a name that constraints do not permit.
  const bool named = host.size() <= common_name_max && !is_address(without_brackets(host));
  if (named) add_name(X509_get_subject_name(c), "CN", host);
  add_extension(c, issuer, NID_subject_alt_name,
                (named ? "" : "critical,") + alternative_name(host));
  add_extension(c, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(c, issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(c, issuer, NID_ext_key_usage, "serverAuth");
  add_extension(c, issuer, NID_subject_key_identifier, "hash");
  if (X509_get0_subject_key_id(issuer) != nullptr)
    add_extension(c, issuer, NID_authority_key_identifier, "keyid:always");
  must(X509_sign(c, key_.get(), EVP_sha256()));
  return leaf;
}

bool CertificateAuthority::may_sign(const std::string& host) const {
  const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> trusted(must(X509_STORE_new()),
                                                                        X509_STORE_free);
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> check(
      must(X509_STORE_CTX_new()), X509_STORE_CTX_free);
  must(X509_STORE_add_cert(trusted.get(), certificate_.get()));
  const auto leaf = sign(host, system_clock::now());
  must(X509_STORE_CTX_init(check.get(), trusted.get(), leaf.certificate.get(), chain()));
  X509_STORE_CTX_set_flags(check.get(), X509_V_FLAG_PARTIAL_CHAIN);
  X509_verify_cert(check.get());
  const auto error = X509_STORE_CTX_get_error(check.get());
  ERR_clear_error();
  return error != X509_V_ERR_PERMITTED_VIOLATION && error != X509_V_ERR_EXCLUDED_VIOLATION;
}

std::vector<std::string> CertificateAuthority::beyond(const Config& config) const {
  auto hosts = named_hosts(config);
  std::erase_if(hosts, [&](const std::string& host) {
    return may_sign(host.starts_with('*') ? "any" + host.substr(1) : host);
  });
  return hosts;
}

system_clock::time_point CertificateAuthority::expires_at() const {
  return time_of(X509_get0_notAfter(certificate_.get()));
}

std::string CertificateAuthority::sha256() const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  must(X509_digest(certificate_.get(), EVP_sha256(), digest, &size));
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    char text[4];
    std::snprintf(text, sizeof text, i == 0 ? "%02X" : ":%02X", digest[i]);
    out += text;
  }
  return out;
}

std::string CertificateAuthority::subject() const {
  const Bio out(must(BIO_new(BIO_s_mem())));
  X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate_.get()), 0,
                     XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  return text_of(out.get());
}

}  // namespace ledger
