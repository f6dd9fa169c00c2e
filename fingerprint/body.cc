#include "fingerprint/body.h"

#include <zlib.h>

#include <algorithm>

#include "fingerprint/text.h"

namespace ledger {
namespace {

// A compressed body may hold so much, and no more is looked into: it is then its raw bytes.
constexpr std::size_t inflated_max = 16 * 1024 * 1024;

std::string_view header(const Call& call, std::string_view name) {
  for (const auto& h : call.headers)
    if (same_text(h.name, name)) return h.value;
  return {};
}

// The media type without its parameters, lower case.
std::string media_type(std::string_view content_type) {
  return lower_text(trim_text(content_type.substr(0, content_type.find(';'))));
}

bool is_json(const std::string& type) {
  return type == "application/json" || type == "text/json" || type.ends_with("+json");
}

// name="value" of a header such as Content-Disposition (RFC 6266, RFC 7578).
std::optional<std::string> parameter(std::string_view text, std::string_view wanted) {
  auto rest = text.substr(std::min(text.size(), text.find(';')));
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const auto equals = rest.find('=');
    if (equals == rest.npos) return std::nullopt;
    const auto name = trim_text(rest.substr(0, equals));
    rest = trim_text(rest.substr(equals + 1));
    std::string value;
    if (!rest.empty() && rest.front() == '"') {
      std::size_t i = 1;
      for (; i < rest.size() && rest[i] != '"'; ++i) {
        if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
        value += rest[i];
      }
      rest.remove_prefix(std::min(rest.size(), i + 1));
      rest.remove_prefix(std::min(rest.size(), rest.find(';')));
    } else {
      const auto end = std::min(rest.size(), rest.find(';'));
      value = trim_text(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    if (same_text(name, wanted)) return value;
  }
  return std::nullopt;
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

std::optional<std::string> inflate_content(std::string_view coding, std::string_view bytes,
                                           std::size_t max) {
  const bool gzip = same_text(coding, "gzip") || same_text(coding, "x-gzip");
  if (!gzip && !same_text(coding, "deflate")) return std::nullopt;
  // deflate is zlib's format (RFC 9110 section 8.4.1.2), but some senders leave its wrapper out.
  const bool bare =
      !gzip && (bytes.empty() || (static_cast<unsigned char>(bytes[0]) & 0x0f) != Z_DEFLATED);
  z_stream z{};
  if (inflateInit2(&z, gzip ? 16 + MAX_WBITS : bare ? -MAX_WBITS : MAX_WBITS) != Z_OK)
    return std::nullopt;
  std::string out;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  int result = Z_OK;
  while (result == Z_OK && out.size() <= max) {
    constexpr std::size_t step = 64 * 1024;
    const auto before = out.size();
    out.resize(before + step);
    z.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    z.avail_out = step;
    result = inflate(&z, Z_NO_FLUSH);
    out.resize(out.size() - z.avail_out);
    // A gzip file may have several members (RFC 1952 section 2.2).
    if (result == Z_STREAM_END && gzip && z.avail_in > 0) result = inflateReset(&z);
  }
  const bool whole = result == Z_STREAM_END && z.avail_in == 0;
  inflateEnd(&z);
  if (!whole || out.size() > max) return std::nullopt;
  return out;
}

std::string canonical_pairs(std::vector<std::pair<std::string, std::string>> pairs) {
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    append_encoded(out, name);
    out += '=';
    append_encoded(out, value);
  }
  return out;
}

std::optional<std::vector<MultipartPart>> parse_multipart(std::string_view content_type,
                                                          std::string_view body) {
  const auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty()) return std::nullopt;
  const auto delimiter = "\r\n--" + *boundary;
  // The first delimiter may stand at the very start; what precedes it is a preamble without
  // meaning.
  auto at = body.substr(0, delimiter.size() - 2) == std::string_view(delimiter).substr(2)
                ? delimiter.size() - 2
                : body.find(delimiter);
  if (at == body.npos) return std::nullopt;
  if (at != delimiter.size() - 2) at += delimiter.size();
  std::vector<MultipartPart> parts;
  for (;;) {
    auto rest = body.substr(at);
    if (rest.substr(0, 2) == "--") return parts;
    const auto line_end = rest.find("\r\n");
    if (line_end == rest.npos || !trim_text(rest.substr(0, line_end)).empty()) return std::nullopt;
    rest.remove_prefix(line_end);
    const auto head_end = rest.find("\r\n\r\n");
    if (head_end == rest.npos) return std::nullopt;
    auto head = rest.substr(0, head_end + 2);
    const auto content_at = head_end + 4;
    const auto end = rest.find(delimiter, head_end + 2);
    if (end == rest.npos) return std::nullopt;

    auto& part = parts.emplace_back();
    part.content =
        end < content_at ? std::string_view() : rest.substr(content_at, end - content_at);
    while (head.size() > 2) {
      head.remove_prefix(2);
      const auto line = head.substr(0, head.find("\r\n"));
      head.remove_prefix(line.size());
      const auto colon = line.find(':');
      if (colon == line.npos) return std::nullopt;
      const auto value = trim_text(line.substr(colon + 1));
      if (same_text(line.substr(0, colon), "Content-Disposition")) {
        part.name = parameter(value, "name").value_or("");
        part.filename = parameter(value, "filename");
        if (const auto extended = parameter(value, "filename*"); extended && !part.filename)
          part.filename = extended;
      } else if (same_text(line.substr(0, colon), "Content-Type")) {
        part.type = value;
      }
    }
    at = static_cast<std::size_t>(rest.data() - body.data()) + end + delimiter.size();
  }
}

Body::Body(const Call& call) : bytes_(call.body) {
  if (bytes_.empty()) {
    kind_ = Kind::empty;
    return;
  }
  if (const auto coding = header(call, "Content-Encoding"); !coding.empty())
    if (auto inflated = inflate_content(trim_text(coding), bytes_, inflated_max)) {
      inflated_ = std::move(*inflated);
      bytes_ = inflated_;
    }
  const auto content_type = header(call, "Content-Type");
  const auto type = media_type(content_type);
  if (is_json(type)) {
    if (auto document = JsonDocument::parse(bytes_)) {
      json_ = std::move(*document);
      kind_ = Kind::json;
    }
  } else if (type == "application/x-www-form-urlencoded") {
    form_ = parse_pairs(bytes_);
    kind_ = Kind::form;
  } else if (type == "multipart/form-data") {
    if (auto parts = parse_multipart(content_type, bytes_)) {
      parts_ = std::move(*parts);
      kind_ = Kind::multipart;
    }
  }
}

CanonicalBody Body::canonical(const IdentityRules& rules) const {
  switch (kind_) {
    case Kind::empty:
      return {"empty", ""};
    case Kind::raw:
      return {"raw", std::string(bytes_)};
    case Kind::json: {
      std::vector<const JsonPattern*> ignored;
      for (const auto& r : rules.ignore)
        if (r.where == IgnoreRule::Where::body) ignored.push_back(&r.pattern);
      return {"json", json_->canonical(!rules.exact_floats, ignored)};
    }
    case Kind::form: {
      auto pairs = form_;
      std::erase_if(
          pairs, [&](const auto& p) { return ignores(rules, IgnoreRule::Where::form, p.first); });
      return {"form", canonical_pairs(std::move(pairs))};
    }
    case Kind::multipart:
      break;
  }
  CanonicalBody out{"multipart", ""};
  for (const auto& part : parts_) {
    if (ignores(rules, IgnoreRule::Where::form, part.name)) continue;
    append_netstring(out.bytes, part.name);
    append_netstring(
        out.bytes, part.filename ? std::optional<std::string_view>(*part.filename) : std::nullopt);
    append_netstring(out.bytes, part.type);
    append_netstring(out.bytes, part.content);
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

std::optional<std::string> Body::json_scalar(std::string_view pointer) const {
  return json_ ? json_->scalar_at(pointer) : std::nullopt;
}

}  // namespace ledger
