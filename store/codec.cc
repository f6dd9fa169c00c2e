#include "store/codec.h"

#include <algorithm>
#include <charconv>

#include "store/apply.h"

namespace ledger::codec {
namespace {

void append(std::string& out, std::string_view field) {
  const auto special = [](char c) { return c == '\\' || c == '\t' || c == '\n'; };
  if (std::none_of(field.begin(), field.end(), special)) {
    out += field;
    return;
  }
  for (char c : field) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

// Takes one field off the front of `text`, up to and with its `end` byte.
std::string take(std::string_view& text, char end) {
  const auto stop = std::min(text.find(end), text.size());
  const auto raw = text.substr(0, stop);
  text.remove_prefix(std::min(stop + 1, text.size()));
  std::string field;
  field.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      field += raw[i];
      continue;
    }
    const char escaped = raw[++i];
    field += escaped == 't' ? '\t' : escaped == 'n' ? '\n' : escaped;
  }
  return field;
}

}  // namespace

std::string encode(const Headers& headers) {
  std::string out;
  std::size_t size = 0;
  for (const auto& [name, value] : headers) size += name.size() + value.size() + 2;
  out.reserve(size);
  for (const auto& [name, value] : headers) {
    append(out, name);
    out += '\t';
    append(out, value);
    out += '\n';
  }
  return out;
}

Headers decode_headers(std::string_view text) {
  Headers headers;
  while (!text.empty()) {
    auto name = take(text, '\t');
    auto value = take(text, '\n');
    headers.emplace_back(std::move(name), std::move(value));
  }
  return headers;
}

std::string encode_history(const Record& record) {
  std::string out;
  for (auto i = history_begin(record); i < record.history.size(); ++i) {
    const auto& entry = record.history[i];
    out += std::to_string(entry.at.time_since_epoch().count());
    out += '\t';
    append(out, entry.event);
    out += '\t';
    append(out, entry.detail);
    out += '\n';
  }
  return out;
}

std::vector<HistoryEntry> decode_history(std::string_view text) {
  std::vector<HistoryEntry> history;
  text = text.substr(0, text.rfind('\n') + 1);
  while (!text.empty()) {
    const auto at = take(text, '\t');
    std::int64_t ms = 0;
    std::from_chars(at.data(), at.data() + at.size(), ms);
    auto event = take(text, '\t');
    auto detail = take(text, '\n');
    history.push_back(
        {Instant(std::chrono::milliseconds(ms)), std::move(event), std::move(detail)});
  }
  return history;
}

}  // namespace ledger::codec
