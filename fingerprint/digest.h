// SHA-256 and HMAC-SHA-256 over length-prefixed fields, so that no two field lists share bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ledger {

// 32 bytes of SHA-256 (FIPS 180-4). Also the type of a record's id.
using Digest = std::array<std::uint8_t, 32>;

// 64 lower-case hex digits.
std::string to_hex(const Digest& digest);
// The inverse; nullopt unless `text` is exactly 64 hex digits of either case.
std::optional<Digest> from_hex(std::string_view text);

// HMAC-SHA-256 (RFC 2104) of `data` under `key`, of any length.
Digest hmac_sha256(std::string_view key, std::string_view data);

// Hashes a list of fields: each is its length in bytes as 8 bytes big-endian, then its bytes.
class FieldHash {
 public:
  FieldHash();
  ~FieldHash();
  FieldHash(const FieldHash&) = delete;
  FieldHash& operator=(const FieldHash&) = delete;

  FieldHash& add(std::string_view field);
  // A digest is a field of its 32 bytes.
  FieldHash& add(const Digest& digest);
  // The digest of all fields so far; the object starts anew.
  Digest finish();

 private:
  void flush();

  void* context_;                      // EVP_MD_CTX, reused from one digest to the next
  std::array<char, 512> buffer_ = {};  // fields not yet given to it
  std::size_t used_ = 0;
};

}  // namespace ledger

// Digests are uniformly distributed already: the first eight bytes are a hash.
template <>
struct std::hash<ledger::Digest> {
  std::size_t operator()(const ledger::Digest& d) const noexcept {
    std::size_t h = 0;
    for (int i = 0; i < 8; ++i) h = h << 8 | d[static_cast<std::size_t>(i)];
    return h;
  }
};
