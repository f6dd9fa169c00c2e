#include "proxy/interception.h"

#include <openssl/ssl.h>

#include <algorithm>

#include "proxy/syntax.h"

namespace ledger {
namespace {

constexpr std::chrono::hours renewed_before{24 * 7};  // a leaf that has less than this left

// Letters, digits, dots, hyphens and underscores, or an IP address: nothing that could mean more
// than one name in a certificate.
bool is_host_name(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
           c == ':' || c == '[' || c == ']';
  });
}

// Where an SSL object carries a pointer of ours.
int own_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// A client that offers protocols but not HTTP/1.1 is refused (RFC 7301 section 3.2): it would not
// understand us.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned int in_size, void*) {
  static constexpr unsigned char http11[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, size, http11, sizeof http11 - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

Interception::Interception(std::unique_ptr<CertificateAuthority> authority, Metrics& metrics)
    : authority_(std::move(authority)),
      context_(asio::ssl::context::tls_server),
      metrics_(metrics) {
  auto* const ctx = context_.native_handle();
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);  // an idle connection is small
  // Sessions live in tickets alone: nothing is kept here, and no lock is shared.
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx, 1);
  static constexpr unsigned char sessions[] = "ledger";
  SSL_CTX_set_session_id_context(ctx, sessions, sizeof sessions - 1);
  SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, nullptr);
  SSL_CTX_set_cert_cb(ctx, choose_certificate, this);
}

void Interception::set_fallback_name(SSL* ssl, const std::string& host) {
  SSL_set_ex_data(ssl, own_index(), const_cast<std::string*>(&host));
}

// Called by OpenSSL in the handshake; 1 goes on, 0 ends it with an alert.
int Interception::choose_certificate(SSL* ssl, void* self) {
  try {
    auto& interception = *static_cast<Interception*>(self);
    const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const auto* fallback = static_cast<const std::string*>(SSL_get_ex_data(ssl, own_index()));
    std::shared_ptr<const Leaf> leaf;
    const auto now = std::chrono::system_clock::now();
    if (name != nullptr) leaf = interception.leaf(name, now);
    if (!leaf && fallback != nullptr) leaf = interception.leaf(*fallback, now);
    if (!leaf) return 0;
    const auto& authority = interception.authority();
    return SSL_use_cert_and_key(ssl, leaf->certificate.get(), authority.leaf_key(),
                                authority.chain(), 1);
  } catch (const std::exception&) {
    return 0;
  }
}

std::shared_ptr<const Leaf> Interception::leaf(std::string host,
                                               std::chrono::system_clock::time_point now) {
  for (char& c : host)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (!is_host_name(host)) return nullptr;
  const std::lock_guard lock(mutex_);
  if (const auto place = places_.find(host); place != places_.end()) {
    leaves_.splice(leaves_.begin(), leaves_, place->second);
  } else {
    leaves_.push_front({host, nullptr});
    places_.emplace(leaves_.front().host, leaves_.begin());
  }
  auto& entry = leaves_.front();
  if (entry.leaf && now < entry.leaf->expires_at - renewed_before) return entry.leaf;
  auto made = std::make_shared<const Leaf>(authority_->sign(host, now));
  entry.leaf = made;
  metrics_.certificates_signed.fetch_add(1, std::memory_order_relaxed);
  if (leaves_.size() > hosts_max) {
    places_.erase(leaves_.back().host);
    leaves_.pop_back();
  }
  return made;
}

std::size_t Interception::hosts() const {
  const std::lock_guard lock(mutex_);
  return leaves_.size();
}

// --- first bytes -------------------------------------------------------------------------------

namespace {

constexpr std::size_t method_max = 32;

// The first name of a server_name extension's list: two bytes of its length, then a type (0 is a
// host name), two bytes of length, the name.
std::string first_name(const unsigned char* data, std::size_t size) {
  if (size < 5 || data[2] != 0) return {};
  const std::size_t length = (std::size_t{data[3]} << 8) | data[4];
  if (length > size - 5) return {};
  return {reinterpret_cast<const char*>(data + 5), length};
}

struct Peeked {
  bool whole = false;
  std::string server_name;
};

// Reads no further than the ClientHello.
int peek(SSL* ssl, int*, void*) {
  auto& peeked = *static_cast<Peeked*>(SSL_get_ex_data(ssl, own_index()));
  peeked.whole = true;
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) == 1)
    peeked.server_name = first_name(data, size);
  return SSL_CLIENT_HELLO_ERROR;
}

// OpenSSL reads the hello, so that ours and its reading of it cannot differ.
FirstBytes look_at_hello(std::string_view bytes, std::string& server_name) {
  static const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context = [] {
    auto* const made = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_client_hello_cb(made, peek, nullptr);
    return std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>(made, SSL_CTX_free);
  }();
  Peeked peeked;
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  BIO* const in = BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size()));
  if (!ssl || in == nullptr) return FirstBytes::other;
  BIO_set_mem_eof_return(in, -1);  // the end of what came is not the end
  SSL_set_ex_data(ssl.get(), own_index(), &peeked);
  SSL_set_bio(ssl.get(), in, BIO_new(BIO_s_mem()));
  const int result = SSL_accept(ssl.get());
  const bool more = SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ;
  ERR_clear_error();
  server_name = std::move(peeked.server_name);
  if (peeked.whole) return FirstBytes::tls;
  return more ? FirstBytes::begun : FirstBytes::other;
}

// A method, a space, and what a target begins with: from there on no other protocol is waited for,
// and the line's end tells.
FirstBytes look_at_line(std::string_view bytes) {
  const auto space = bytes.substr(0, method_max + 1).find(' ');
  const auto method = bytes.substr(0, space);
  const bool upper = std::all_of(method.begin(), method.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
  if (method.empty() || !upper || method.size() > method_max) return FirstBytes::other;
  if (space == bytes.npos || space + 1 == bytes.size()) return FirstBytes::undecided;
  const auto target = bytes.substr(space + 1);
  constexpr std::string_view absolute = "http";
  if (target.front() != '/' && target.front() != '*' &&
      !target.starts_with(absolute.substr(0, target.size())))
    return FirstBytes::other;
  const auto end = bytes.find('\n');
  if (end == bytes.npos) return FirstBytes::begun;
  auto line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0") ? FirstBytes::http
                                                                    : FirstBytes::other;
}

}  // namespace

FirstBytes look_at(std::string_view bytes, std::size_t head_max, std::string& server_name) {
  server_name.clear();
  if (bytes.empty()) return FirstBytes::undecided;
  constexpr char handshake = 22, version = 3;  // of a TLS record (RFC 8446 section 5.1)
  const bool tls = bytes[0] == handshake && (bytes.size() == 1 || bytes[1] == version);
  const auto seen = tls ? look_at_hello(bytes, server_name) : look_at_line(bytes);
  if (seen != FirstBytes::begun || bytes.size() <= head_max) return seen;
  return tls ? FirstBytes::tls : FirstBytes::http;
}

}  // namespace ledger
