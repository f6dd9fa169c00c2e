#include "fingerprint/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cassert>

#include "fingerprint/text.h"

namespace ledger {
namespace {

constexpr std::size_t block_size = 64;  // of SHA-256, which HMAC pads its key to
constexpr std::size_t length_size = 8;  // of a field's length, before its bytes

EVP_MD_CTX* evp(void* context) { return static_cast<EVP_MD_CTX*>(context); }

// Fetched once: EVP_sha256() is looked up in OpenSSL's provider tables anew for every digest.
const EVP_MD* sha256() {
  static const EVP_MD* const algorithm = [] {
    const EVP_MD* fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return fetched != nullptr ? fetched : EVP_sha256();
  }();
  return algorithm;
}

void start(void* context) {
  const int done = EVP_DigestInit_ex(evp(context), sha256(), nullptr);
  assert(done == 1);
  static_cast<void>(done);
}

void update(void* context, const void* data, std::size_t size) {
  const int done = EVP_DigestUpdate(evp(context), data, size);
  assert(done == 1);
  static_cast<void>(done);
}

Digest finish_digest(void* context) {
  Digest digest;
  unsigned int size = 0;
  const int done = EVP_DigestFinal_ex(evp(context), digest.data(), &size);
  assert(done == 1 && size == digest.size());
  static_cast<void>(done);
  return digest;
}

}  // namespace

std::string to_hex(const Digest& digest) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (const auto byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::optional<Digest> from_hex(std::string_view text) {
  Digest digest;
  if (text.size() != 2 * digest.size()) return std::nullopt;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return digest;
}

// RFC 2104 by hand: OpenSSL's one-shot HMAC() looks up three algorithms for each call, which costs
// more than the hashing.
Digest hmac_sha256(std::string_view key, std::string_view data) {
  auto* context = EVP_MD_CTX_new();
  assert(context != nullptr);
  Digest key_digest;
  if (key.size() > block_size) {
    start(context);
    update(context, key.data(), key.size());
    key_digest = finish_digest(context);
    key = {reinterpret_cast<const char*>(key_digest.data()), key_digest.size()};
  }
  const auto pad_with = [&](unsigned char byte) {
    std::array<unsigned char, block_size> pad;
    for (std::size_t i = 0; i < block_size; ++i)
      pad[i] = byte ^ (i < key.size() ? static_cast<unsigned char>(key[i]) : 0);
    start(context);
    update(context, pad.data(), pad.size());
  };
  pad_with(0x36);
  update(context, data.data(), data.size());
  const auto inner = finish_digest(context);
  pad_with(0x5c);
  update(context, inner.data(), inner.size());
  const auto digest = finish_digest(context);
  EVP_MD_CTX_free(context);
  return digest;
}

FieldHash::FieldHash() : context_(EVP_MD_CTX_new()) {
  assert(context_ != nullptr);
  start(context_);
}

FieldHash::~FieldHash() { EVP_MD_CTX_free(evp(context_)); }

// Small fields are gathered first: a call into OpenSSL costs as much as hashing 100 bytes.
FieldHash& FieldHash::add(std::string_view field) {
  if (buffer_.size() - used_ < length_size) flush();
  for (int shift = 56; shift >= 0; shift -= 8)
    buffer_[used_++] = static_cast<char>(static_cast<unsigned char>(field.size() >> shift));
  if (buffer_.size() - used_ < field.size()) flush();
  if (buffer_.size() < field.size()) {
    update(context_, field.data(), field.size());
  } else {
    std::copy(field.begin(), field.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(used_));
    used_ += field.size();
  }
  return *this;
}

FieldHash& FieldHash::add(const Digest& digest) {
  return add({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

Digest FieldHash::finish() {
  flush();
  const auto digest = finish_digest(context_);
  start(context_);
  return digest;
}

void FieldHash::flush() {
  update(context_, buffer_.data(), used_);
  used_ = 0;
}

}  // namespace ledger
