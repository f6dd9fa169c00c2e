#include "fingerprint/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cassert>

namespace ledger {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

EVP_MD_CTX* evp(void* context) { return static_cast<EVP_MD_CTX*>(context); }

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

Digest hmac_sha256(std::string_view key, std::string_view data) {
  Digest digest;
  unsigned int size = 0;
  const auto* made =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(data.data()), data.size(), digest.data(), &size);
  assert(made != nullptr && size == digest.size());
  static_cast<void>(made);
  return digest;
}

FieldHash::FieldHash() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(evp(context_), EVP_sha256(), nullptr);
}

FieldHash::~FieldHash() { EVP_MD_CTX_free(evp(context_)); }

FieldHash& FieldHash::add(std::string_view field) {
  unsigned char size[8];
  for (int i = 0; i < 8; ++i) size[i] = static_cast<unsigned char>(field.size() >> (56 - 8 * i));
  EVP_DigestUpdate(evp(context_), size, sizeof size);
  EVP_DigestUpdate(evp(context_), field.data(), field.size());
  return *this;
}

Digest FieldHash::finish() {
  Digest digest;
  unsigned int size = 0;
  const int done = EVP_DigestFinal_ex(evp(context_), digest.data(), &size);
  assert(done == 1 && size == digest.size());
  static_cast<void>(done);
  EVP_DigestInit_ex(evp(context_), EVP_sha256(), nullptr);
  return digest;
}

}  // namespace ledger
