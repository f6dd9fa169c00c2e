// Canonical bodies: what a body means, whatever its coding, order and spelling.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fingerprint/identity.h"

namespace ledger {

// gunzips ("gzip", "x-gzip") or inflates ("deflate"); nullopt if the bytes are not of that coding,
// or hold more than `max` bytes.
std::optional<std::string> inflate_content(std::string_view coding, std::string_view bytes,
                                           std::size_t max);

struct MultipartPart {
  std::string name, type;
  std::optional<std::string> filename;
  std::string_view content;
};
// RFC 7578 / RFC 2046 section 5.1. nullopt where the body is not what its boundary says.
std::optional<std::vector<MultipartPart>> parse_multipart(std::string_view content_type,
                                                          std::string_view body);

// Name/value pairs as canonical text: without those that `rules` ignore, sorted by name (order kept
// among equal names), percent-encoded.
std::string canonical_pairs(std::span<const std::pair<std::string, std::string>> pairs,
                            const IdentityRules& rules, IgnoreRule::Where where);

// The first header of that name, as received.
std::optional<std::string_view> find_header(const Call& call, std::string_view name);

// By media type: application/json, text/json, +json or application/x-amz-json-*.
bool has_json_type(const Call& call);

// A body, read once: its kind, and access to its fields for key templates. Views the call's bytes.
class Body {
 public:
  explicit Body(const Call& call);
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  // "json", "form", "multipart", "raw" or "empty".
  std::string_view kind() const;
  // The canonical bytes. Those of a raw body are seen where they are; others are made in `storage`.
  std::string_view canonical(const IdentityRules& rules, std::string& storage) const;

  // A field of a form or a multipart body; the first of that name.
  std::optional<std::string> form_field(std::string_view name) const;
  // The pairs of a form, in order; else none.
  std::span<const std::pair<std::string, std::string>> form() const { return form_; }
  // What the body holds, whatever its coding.
  std::string_view bytes() const { return bytes_; }
  // The JSON document; null where the body is none.
  const JsonDocument* json() const { return json_ ? &*json_ : nullptr; }

 private:
  enum class Kind : std::uint8_t { empty, json, form, multipart, raw };
  void read(std::string_view content_type);
  std::string canonical_parts(const IdentityRules& rules) const;

  Kind kind_ = Kind::raw;
  std::string inflated_;  // where the body was compressed
  std::string_view bytes_;
  std::optional<JsonDocument> json_;
  std::vector<std::pair<std::string, std::string>> form_;
  std::vector<MultipartPart> parts_;
};

}  // namespace ledger
