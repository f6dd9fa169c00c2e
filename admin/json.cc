#include "admin/json.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <ctime>

#include "store/apply.h"

namespace ledger {
namespace {

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

bool ends_with(std::string_view name, std::string_view end) {
  return name.size() >= end.size() && same_name(name.substr(name.size() - end.size()), end);
}

// Headers of an answer whose values let somebody act as the caller.
bool is_secret(std::string_view name) {
  static constexpr std::array<std::string_view, 12> ends{
      "api-key",      "access-key", "token",       "secret",  "password",   "authorization",
      "authenticate", "credential", "credentials", "session", "session-id", "signature"};
  return same_name(name, "Set-Cookie") || same_name(name, "Set-Cookie2") ||
         same_name(name, "Authentication-Info") || same_name(name, "Proxy-Authentication-Info") ||
         std::any_of(ends.begin(), ends.end(), [&](auto end) { return ends_with(name, end); });
}

// A link may carry a token behind the path, and a name and password before the host.
std::string without_secrets(std::string_view name, const std::string& value) {
  if (is_secret(name)) return "(not shown)";
  static constexpr std::array<std::string_view, 4> links{"Location", "Content-Location", "Refresh",
                                                         "Link"};
  if (std::none_of(links.begin(), links.end(), [&](auto link) { return same_name(name, link); }))
    return value;
  const auto end = value.find_first_of("?#");
  for (auto at = value.find("//"); at < end; at = value.find("//", at + 2)) {
    const auto next = value.find_first_of("/@", at + 2);
    if (next < end && value[next] == '@') return "(not shown)";
  }
  return end == value.npos ? value : value.substr(0, end) + value[end] + "(not shown)";
}

Json answer_json(const Answer& answer) {
  Json headers = Json::array();
  for (const auto& [name, value] : answer.headers)
    headers.push_back({name, without_secrets(name, value)});
  Json j;
  j["status"] = answer.status;
  j["reason"] = text_or_null(answer.reason);
  j["headers"] = std::move(headers);
  j["body_stored"] = answer.body_stored;
  j["body_bytes"] = answer.body.size();
  j["received_at"] = to_rfc3339(answer.received_at);
  return j;
}

Json counts_json(const Counts& counts, std::uint64_t in_doubt) {
  Json j;
  j["attempts"] = counts.attempts;
  j["executed"] = counts.executed;
  j["unsent"] = counts.unsent;
  j["blocked"] = counts.blocked();
  j["replayed"] = counts.replayed;
  j["joined"] = counts.joined;
  j["mismatched"] = counts.mismatched;
  j["in_doubt"] = in_doubt;
  j["duplicate_rate"] = duplicate_rate(counts);
  return j;
}

}  // namespace

std::string to_rfc3339(Instant t) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(t);
  const std::time_t whole = seconds.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&whole, &parts);
  char text[40];
  const auto n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>((t - seconds).count()));
  return text;
}

Json record_json(const Record& r, bool whole) {
  Json j;
  j["id"] = to_hex(r.id);
  j["label"] = text_or_null(r.label);
  j["key"] = text_or_null(r.key_text);
  j["route"] = text_or_null(r.route);
  j["method"] = r.method;
  j["url"] = r.url;
  j["state"] = to_string(r.state);
  j["version"] = r.version;
  j["attempts"] = r.counts.attempts;
  j["executed"] = r.counts.executed;
  j["unsent"] = r.counts.unsent;
  j["replayed"] = r.counts.replayed;
  j["joined"] = r.counts.joined;
  j["blocked"] = r.counts.blocked();
  j["agent"] = text_or_null(r.agent);
  j["run"] = text_or_null(r.run);
  j["created_at"] = to_rfc3339(r.created_at);
  j["updated_at"] = to_rfc3339(r.updated_at);
  j["expires_at"] = r.expires_at ? Json(to_rfc3339(*r.expires_at)) : Json(nullptr);
  j["status"] = r.answer ? Json(r.answer->status) : Json(nullptr);
  j["fingerprint"] = to_hex(r.fingerprint);
  j["key_source"] = to_string(r.key_source);
  if (!whole) return j;
  j["answer"] = r.answer ? answer_json(*r.answer) : Json(nullptr);
  j["history"] = Json::array();
  for (const auto& entry : r.history)
    j["history"].push_back(
        {{"at", to_rfc3339(entry.at)}, {"event", entry.event}, {"detail", entry.detail}});
  return j;
}

double duplicate_rate(const Counts& counts) {
  if (counts.attempts == 0) return 0;
  return std::round(1e4 * static_cast<double>(counts.blocked()) /
                    static_cast<double>(counts.attempts)) /
         1e4;
}

RouteStats totals_of(const std::vector<RouteStats>& routes) {
  RouteStats sum;
  for (const auto& r : routes) {
    add_to(sum.counts, r.counts);
    sum.records += r.records;
    sum.in_flight += r.in_flight;
    sum.completed += r.completed;
    sum.released += r.released;
    sum.in_doubt += r.in_doubt;
  }
  return sum;
}

Json stats_json(const std::vector<RouteStats>& routes) {
  const auto sum = totals_of(routes);
  Json j;
  j["totals"] = counts_json(sum.counts, sum.in_doubt);
  j["totals"]["records"] = sum.records;
  j["totals"]["in_flight"] = sum.in_flight;
  j["routes"] = Json::array();
  for (const auto& r : routes) {
    Json row;
    row["route"] = text_or_null(r.route);
    row.update(counts_json(r.counts, r.in_doubt));
    j["routes"].push_back(std::move(row));
  }
  return j;
}

Json tunnels_json(const TunnelCounts& tunnels) {
  auto rows = Json::array();
  for (const auto& [host, n] : tunnels.all())
    rows.push_back(
        {{"host", host}, {"opened", n.opened}, {"blind", n.blind}, {"passed", n.passed}});
  return rows;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ledger
