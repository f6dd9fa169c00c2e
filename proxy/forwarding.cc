#include "proxy/forwarding.h"

namespace ledger {
namespace {

bool is_ledger_field(std::string_view name) {
  return name.size() > 7 && iequals(name.substr(0, 7), "ledger-");
}

bool frames_the_body(std::string_view name) {
  return iequals(name, "Content-Length") || iequals(name, "Transfer-Encoding");
}

std::string_view host_of(const Head& head) { return head.get("Host"); }

void append_via(std::string& out, std::string_view earlier, int version, std::string_view via) {
  out += "Via: ";
  if (!earlier.empty()) (out += earlier) += ", ";
  out += version == 10 ? "1.0 " : "1.1 ";
  (out += via) += "\r\n";
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
  std::string target = how.url->path;
  if (how.url->has_query) (target += '?') += how.url->query;
  append_request_line(out, head.method, target);

  std::string host = how.url->host;
  if (!how.url->port.empty()) (host += ':') += how.url->port;
  append_field(out, "Host", host);
  for (const auto& f : head.fields) {
    if (iequals(f.name, "Host") || frames_the_body(f.name) || iequals(f.name, "Expect") ||
        iequals(f.name, "Via") || is_ledger_field(f.name) || hop.contains(f.name))
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
  append_via(out, joined(head, "Via"), head.version, how.via);
  if (how.reverse) {
    auto before = joined(head, "X-Forwarded-For");
    if (!before.empty()) before += ", ";
    append_field(out, "X-Forwarded-For", before + std::string(how.client_address));
    const auto host_before = head.get("X-Forwarded-Host");
    append_field(out, "X-Forwarded-Host", host_before.empty() ? host_of(head) : host_before);
    const auto proto_before = head.get("X-Forwarded-Proto");
    append_field(out, "X-Forwarded-Proto", proto_before.empty() ? "http" : proto_before);
  }
}

AnswerHead answer_head(const Head& head) {
  AnswerHead answer;
  answer.status = head.status;
  answer.reason = head.reason;
  answer.bodyless = head.framing == Framing::none;
  if (head.framing == Framing::length) answer.length = head.content_length;
  const HopByHop hop(head);
  for (const auto& f : head.fields) {
    if (hop.contains(f.name) || is_ledger_field(f.name)) continue;
    if (frames_the_body(f.name) && !(answer.bodyless && iequals(f.name, "Content-Length")))
      continue;
    answer.headers.emplace_back(f.name, f.value);
  }
  return answer;
}

void append_ledger_fields(std::string& out, const LedgerFields& fields) {
  append_field(out, "Ledger-Status", to_string(fields.status));
  if (!fields.key.empty()) append_field(out, "Ledger-Key", fields.key);
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

bool accepts_coding(const Head& request, std::string_view coding) {
  const std::string all = joined(request, "Accept-Encoding");
  std::string_view list = all;
  bool any = false;  // what `*` says of the codings that are not listed
  while (!list.empty()) {
    auto item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    const auto semicolon = item.find(';');
    auto name = item.substr(0, semicolon);
    while (!name.empty() && (name.front() == ' ' || name.front() == '\t')) name.remove_prefix(1);
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
    if (name != "*" && !iequals(name, coding)) continue;
    // q=0, q=0.0, q=0.00, q=0.000: not acceptable.
    const auto q = semicolon == item.npos ? item.npos : item.find_first_of("qQ", semicolon);
    const bool weighed = q != item.npos && item.substr(q + 1).starts_with('=');
    const bool accepted =
        !weighed || item.substr(q + 2).find_first_of("123456789") != std::string_view::npos;
    if (name != "*") return accepted;
    any = accepted;
  }
  return any;
}

}  // namespace ledger
