#include "proxy/forwarding.h"

namespace ledger {
namespace {

// Content-Length, Transfer-Encoding.
bool frames_the_body(FieldKind kind) {
  return kind == FieldKind::content_length || kind == FieldKind::transfer_encoding;
}

// Every field of that name, joined as one list.
std::string joined(const Head& head, std::string_view name) {
  std::string all;
  for (const auto& f : head.fields)
    if (iequals(f.name, name)) (all += all.empty() ? "" : ", ") += f.value;
  return all;
}

bool is_forwarded_field(std::string_view name) {
  return iequals(name, "X-Forwarded-For") || iequals(name, "X-Forwarded-Host") ||
         iequals(name, "X-Forwarded-Proto");
}

}  // namespace

void append_forwarded_request(std::string& out, const Head& head, const Forwarding& how) {
  const HopByHop hop(head);
  const auto& url = *how.url;
  ((out += head.method) += ' ') += url.spelled_path();
  if (url.has_query) (out += '?') += url.query;
  out += " HTTP/1.1\r\nHost: ";
  out += url.host;
  if (!url.port.empty()) (out += ':') += url.port;
  out += "\r\n";
  bool via_before = false;
  for (std::size_t i = 0; i < head.fields.size(); ++i) {
    const auto kind = head.kinds[i];
    const auto& f = head.fields[i];
    via_before = via_before || kind == FieldKind::via;
    if (kind == FieldKind::host || kind == FieldKind::expect || kind == FieldKind::via ||
        kind == FieldKind::ledger || frames_the_body(kind) || hop.contains(i))
      continue;
    if (how.reverse && is_forwarded_field(f.name)) continue;
    if (!how.drop.empty() && iequals(f.name, how.drop)) continue;
    if (how.stored && (iequals(f.name, "Content-Type") || iequals(f.name, "Content-Encoding")))
      continue;
    append_field(out, f.name, f.value);
  }
  if (how.stored && !how.stored->content_type.empty())
    append_field(out, "Content-Type", how.stored->content_type);
  if (how.stored && !how.stored->content_encoding.empty())
    append_field(out, "Content-Encoding", how.stored->content_encoding);
  append_via(out, via_before ? joined(head, "Via") : std::string(), head.version, how.via);
  if (how.reverse) {
    auto before = joined(head, "X-Forwarded-For");
    if (!before.empty()) before += ", ";
    append_field(out, "X-Forwarded-For", before += how.client_address);
    const auto host_before = head.get("X-Forwarded-Host");
    append_field(out, "X-Forwarded-Host", host_before.empty() ? head.get("Host") : host_before);
    const auto proto_before = head.get("X-Forwarded-Proto");
    append_field(out, "X-Forwarded-Proto", proto_before.empty() ? "http" : proto_before);
  }
}

namespace {

// Calls `take(field)` for each end-to-end field of an upstream's answer.
template <class Take>
void each_answer_field(const Head& head, Take take) {
  const HopByHop hop(head);
  for (std::size_t i = 0; i < head.fields.size(); ++i) {
    const auto kind = head.kinds[i];
    if (kind == FieldKind::ledger || hop.contains(i)) continue;
    // Where there is no body by nature, its length would be.
    if (kind == FieldKind::content_length && head.framing != Framing::none) continue;
    take(head.fields[i]);
  }
}

}  // namespace

AnswerHead answer_head(const Head& head) {
  AnswerHead answer;
  answer.status = head.status;
  answer.reason = head.reason;
  answer.bodyless = head.framing == Framing::none;
  if (head.framing == Framing::length) answer.length = head.content_length;
  answer.headers.reserve(head.fields.size());
  each_answer_field(head,
                    [&](const HeaderView& f) { answer.headers.emplace_back(f.name, f.value); });
  return answer;
}

void append_answer_fields(std::string& out, const Head& head) {
  each_answer_field(head, [&](const HeaderView& f) { append_field(out, f.name, f.value); });
  if (head.framing == Framing::length) append_field(out, "Content-Length", head.content_length);
}

void append_via(std::string& out, std::string_view earlier, int version, std::string_view via) {
  out += "Via: ";
  if (!earlier.empty()) (out += earlier) += ", ";
  out += version == 10 ? "1.0 " : "1.1 ";
  (out += via) += "\r\n";
}

void append_ledger_fields(std::string& out, const LedgerFields& fields) {
  append_field(out, "Ledger-Status", to_string(fields.status));
  if (!fields.record.empty()) append_field(out, "Ledger-Record", fields.record);
  if (!fields.route.empty()) append_field(out, "Ledger-Route", fields.route);
  if (fields.attempt != 0) append_field(out, "Ledger-Attempt", fields.attempt);
}

void append_connection(std::string& out, int client_version, bool keep_alive) {
  if (!keep_alive)
    append_field(out, "Connection", "close");
  else if (client_version == 10)
    append_field(out, "Connection", "keep-alive");
}

bool only_for_first_caller(std::string_view name) { return iequals(name, "Set-Cookie"); }

namespace {

// x-gzip is another name of gzip (RFC 9110 section 8.4.1.3).
bool is_coding(std::string_view name, std::string_view coding) {
  const auto plain = [](std::string_view c) { return iequals(c, "x-gzip") ? "gzip" : c; };
  return iequals(plain(name), plain(coding));
}

}  // namespace

bool excludes_coding(const Head& request, std::string_view coding) {
  if (std::none_of(request.fields.begin(), request.fields.end(),
                   [](const auto& f) { return iequals(f.name, "Accept-Encoding"); }))
    return false;
  const std::string all = joined(request, "Accept-Encoding");
  std::string_view list = all;
  bool rest_excluded = true;  // unless `*` lets in the codings that are not listed
  while (!list.empty()) {
    auto item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    const auto semicolon = item.find(';');
    auto name = item.substr(0, semicolon);
    while (!name.empty() && (name.front() == ' ' || name.front() == '\t')) name.remove_prefix(1);
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
    if (name != "*" && !is_coding(name, coding)) continue;
    // q=0, q=0.0, q=0.00, q=0.000: not acceptable.
    const auto q = semicolon == item.npos ? item.npos : item.find_first_of("qQ", semicolon);
    const bool weighed = q != item.npos && item.substr(q + 1).starts_with('=');
    const bool excluded =
        weighed && item.substr(q + 2).find_first_of("123456789") == std::string_view::npos;
    if (name != "*") return excluded;
    rest_excluded = excluded;
  }
  return rest_excluded;
}

}  // namespace ledger
