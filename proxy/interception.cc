#include "proxy/interception.h"

#include <openssl/ssl.h>

#include "fingerprint/text.h"
#include "proxy/first_bytes.h"

namespace ledger {
namespace {

constexpr std::chrono::hours renewed_before{24 * 7};  // a leaf that has less than this left

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

Interception::Interception(std::shared_ptr<const CertificateAuthority> authority, Metrics& metrics)
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
  if (!is_host_name(host)) return nullptr;
  host = lower_text(host);
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

}  // namespace ledger
