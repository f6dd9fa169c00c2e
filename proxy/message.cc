#include "proxy/message.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/status.hpp>
#include <charconv>

#include "proxy/syntax.h"

namespace ledger {

bool iequals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const char lower = static_cast<char>(a[i] | 0x20);
    if (lower != (b[i] | 0x20) || lower < 'a' || lower > 'z') return false;
  }
  return true;
}

bool list_has(std::string_view list, std::string_view token) {
  bool found = false;
  each_item(list, [&](std::string_view item) { found = found || iequals(item, token); });
  return found;
}

std::string_view Head::get(std::string_view name) const {
  for (const auto& f : fields)
    if (iequals(f.name, name)) return f.value;
  return {};
}

bool Head::has(std::string_view name) const {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const auto& f) { return iequals(f.name, name); });
}

HopByHop::HopByHop(const Head& head) : head_(head) {
  for (std::size_t i = 0; i < head.fields.size(); ++i)
    if (head.kinds[i] == FieldKind::connection)
      each_item(head.fields[i].value, [&](std::string_view item) {
        if (!iequals(item, "keep-alive") && !iequals(item, "close")) named_.push_back(item);
      });
}

bool HopByHop::contains(std::size_t field) const {
  const auto kind = head_.kinds[field];
  if (kind == FieldKind::hop_by_hop || kind == FieldKind::connection ||
      kind == FieldKind::transfer_encoding)
    return true;
  const auto name = head_.fields[field].name;
  return std::any_of(named_.begin(), named_.end(),
                     [&](std::string_view other) { return iequals(name, other); });
}

namespace {

void append_number(std::string& out, std::uint64_t number, int base = 10) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, base).ptr;
  out.append(digits.data(), end);
}

}  // namespace

void append_request_line(std::string& out, std::string_view method, std::string_view target) {
  ((out += method) += ' ') += target;
  out += " HTTP/1.1\r\n";
}

void append_status_line(std::string& out, int status, std::string_view reason) {
  out += "HTTP/1.1 ";
  append_number(out, static_cast<std::uint64_t>(status));
  out += ' ';
  if (reason.empty()) {
    const auto standard =
        boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
    reason = std::string_view(standard.data(), standard.size());
  }
  (out += reason) += "\r\n";
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  (((out += name) += ": ") += value) += "\r\n";
}

void append_field(std::string& out, std::string_view name, std::uint64_t value) {
  (out += name) += ": ";
  append_number(out, value);
  out += "\r\n";
}

void append_chunk(std::string& out, std::string_view data) {
  if (data.empty()) return;
  append_number(out, data.size(), 16);
  ((out += "\r\n") += data) += "\r\n";
}

void append_last_chunk(std::string& out) { out += "0\r\n\r\n"; }

}  // namespace ledger
