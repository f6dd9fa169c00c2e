#include "fingerprint/body.h"

#include <algorithm>

#include "fingerprint/text.h"

namespace ledger {
namespace {

// Without parameters (RFC 9110 section 8.3.1).
std::string_view media_type(std::string_view content_type) {
  return trim_text(content_type.substr(0, content_type.find(';')));
}

// RFC 6839 section 3.1 for +json; x-amz-json-1.0 and -1.1 are what AWS calls its JSON.
bool is_json(std::string_view type) {
  constexpr std::string_view amazon = "application/x-amz-json-";
  return same_text(type, "application/json") || same_text(type, "text/json") ||
         ends_with_text(type, "+json") || same_text(type.substr(0, amazon.size()), amazon);
}

// Length-prefixed, so that no two lists of fields share bytes; "-" where there is none.
void append_netstring(std::string& out, const std::optional<std::string_view>& field) {
  if (!field) {
    out += "-,";
    return;
  }
  ((out += std::to_string(field->size())) += ':') += *field;
  out += ',';
}

bool ignores(const IdentityRules& rules, IgnoreRule::Where where, std::string_view name) {
  return std::any_of(rules.ignore.begin(), rules.ignore.end(),
                     [&](const IgnoreRule& r) { return r.where == where && r.name == name; });
}

}  // namespace

std::optional<std::string_view> find_header(const Call& call, std::string_view name) {
  for (const auto& h : call.headers)
    if (same_text(h.name, name)) return h.value;
  return std::nullopt;
}

bool has_json_type(const Call& call) {
  return is_json(media_type(find_header(call, "Content-Type").value_or("")));
}

std::string canonical_pairs(std::span<const std::pair<std::string, std::string>> pairs,
                            const IdentityRules& rules, IgnoreRule::Where where) {
  std::vector<const std::pair<std::string, std::string>*> sorted;
  sorted.reserve(pairs.size());
  for (const auto& pair : pairs)
    if (!ignores(rules, where, pair.first)) sorted.push_back(&pair);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->first < b->first; });
  std::string out;
  for (const auto* pair : sorted) {
    if (!out.empty()) out += '&';
    append_encoded(out, pair->first);
    out += '=';
    append_encoded(out, pair->second);
  }
  return out;
}

Body::Body(const Call& call) : bytes_(call.body) {
  const auto coding = trim_text(find_header(call, "Content-Encoding").value_or(""));
  if (!bytes_.empty() && !coding.empty() && !same_text(coding, "identity")) {
    auto inflated = inflate_content(coding, bytes_, call.body_max);
    if (!inflated) return;  // raw: under another coding the bytes are not what the type says
    inflated_ = std::move(*inflated);
    bytes_ = inflated_;
  }
  if (bytes_.empty())
    kind_ = Kind::empty;
  else
    read(find_header(call, "Content-Type").value_or(""));
}

// The kind stays raw where the bytes are not what the type says.
void Body::read(std::string_view content_type) {
  const auto type = media_type(content_type);
  if (is_json(type)) {
    auto document = JsonDocument::parse(bytes_);
    if (!document) return;
    json_ = std::move(*document);
    kind_ = Kind::json;
  } else if (same_text(type, "application/x-www-form-urlencoded")) {
    form_ = parse_pairs(bytes_);
    kind_ = Kind::form;
  } else if (same_text(type, "multipart/form-data")) {
    auto parts = parse_multipart(content_type, bytes_);
    if (!parts) return;
    parts_ = std::move(*parts);
    kind_ = Kind::multipart;
  }
}

std::string_view Body::kind() const {
  static constexpr std::string_view names[] = {"empty", "json", "form", "multipart", "raw"};
  return names[static_cast<std::size_t>(kind_)];
}

std::string_view Body::canonical(const IdentityRules& rules, std::string& storage) const {
  switch (kind_) {
    case Kind::empty:
    case Kind::raw:
      return bytes_;
    case Kind::json: {
      std::vector<const JsonPattern*> ignored;
      for (const auto& r : rules.ignore)
        if (r.where == IgnoreRule::Where::body) ignored.push_back(&r.pattern);
      return storage = json_->canonical(!rules.exact_floats, std::move(ignored));
    }
    case Kind::form:
      return storage = canonical_pairs(form_, rules, IgnoreRule::Where::form);
    case Kind::multipart:
      break;
  }
  return storage = canonical_parts(rules);
}

std::string Body::canonical_parts(const IdentityRules& rules) const {
  std::string out;
  for (const auto& part : parts_) {
    if (ignores(rules, IgnoreRule::Where::form, part.name)) continue;
    append_netstring(out, part.name);
    append_netstring(out, part.filename);
    append_netstring(out, part.type);
    append_netstring(out, part.content);
  }
  return out;
}

std::optional<std::string> Body::form_field(std::string_view name) const {
  for (const auto& [field, value] : form_)
    if (field == name) return value;
  for (const auto& part : parts_)
    if (part.name == name) return std::string(part.content);
  return std::nullopt;
}

}  // namespace ledger
