#include "admin/router.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/string.hpp>

#include "admin/bodies.h"
#include "admin/explain.h"
#include "admin/json.h"
#include "config/admin_token.h"
#include "fingerprint/text.h"
#include "fingerprint/url.h"
#include "guard/journal.h"
#include "guard/operate.h"
#include "proxy/authority.h"

namespace ledger {
namespace {

using Response = AdminRouter::Response;
using Request = AdminRouter::Request;

constexpr std::size_t limit_default = 100, limit_max = 1000;
// A page ends after so many bytes, wherever its limit is: URLs may be long. It is read so many
// records at a time, and goes past its end by no more.
constexpr std::size_t page_bytes = std::size_t{1} << 20, records_at_once = 16;
// A response that settles a call may be as long as a recorded answer.
constexpr std::size_t body_max_default = std::size_t{1} << 20, resolve_body_max = 16 << 20;

Response make(int status, std::string_view type, std::string body) {
  Response r;
  r.result(static_cast<unsigned>(status));
  r.set(http::field::content_type, boost::beast::string_view(type.data(), type.size()));
  r.set(http::field::cache_control, "no-store");
  r.set("X-Content-Type-Options", "nosniff");
  r.body() = std::move(body);
  return r;
}

Response json(int status, const Json& body) {
  return make(status, "application/json", dump(body) + "\n");
}

Response not_allowed(std::string_view allow) {
  auto r = admin_problem(405, "method-not-allowed", "This path takes " + std::string(allow) + ".");
  r.set(http::field::allow, boost::beast::string_view(allow.data(), allow.size()));
  return r;
}

Response failed(const OperateError& e) {
  if (e.kind == OperateError::Kind::not_found) return admin_problem(404, "not-found", e.message);
  if (e.kind == OperateError::Kind::conflict) return admin_problem(409, "conflict", e.message);
  return admin_problem(503, "store-unavailable", e.message);
}

std::string text(boost::beast::string_view s) { return {s.data(), s.size()}; }

std::optional<std::uint64_t> number(const std::string& s) {
  if (s.empty() || s.size() > 19 || s.find_first_not_of("0123456789") != s.npos)
    return std::nullopt;
  return std::stoull(s);
}

// Who asks, as far as the request says.
std::string said_by(const AdminRouter::Head& head) {
  const auto by = text(head["Ledger-By"]);
  return by.empty() ? "the admin API" : by;
}

bool is_change(http::verb method) {
  return method != http::verb::get && method != http::verb::head && method != http::verb::options;
}

std::string path_of(std::string_view target) {
  return percent_decode(target.substr(0, target.find('?')), false);
}

}  // namespace

Response admin_problem(int status, std::string_view slug, const std::string& detail) {
  Json j;
  j["type"] = "urn:ledger:" + std::string(slug);
  const auto title = http::obsolete_reason(static_cast<http::status>(status));
  j["title"] = std::string(title.data(), title.size());
  j["status"] = status;
  j["detail"] = detail;
  return make(status, "application/problem+json", dump(j) + "\n");
}

std::optional<Response> AdminRouter::refuse(const Head& head) const {
  // A page elsewhere that gets a browser to talk to this address (DNS rebinding, cross-site
  // requests).
  if (from_a_browser_elsewhere(head))
    return admin_problem(
        403, "forbidden",
        "This request's Host or Origin is not this endpoint's own address; it is refused.");
  const auto path = path_of(text(head.target()));
  const bool changes = is_change(head.method()) && path != "/api/explain";
  const bool open = path == "/healthz" || path == "/readyz" || path == "/ca.pem" ||
                    !admin_reads_need_token(config_);
  if ((open && !changes) || shows_token(head)) return std::nullopt;
  return ask_for_token();
}

// Says where the token is, never what it is.
Response AdminRouter::ask_for_token() const {
  const auto token = admin_token(config_);
  auto r =
      admin_problem(401, "token-required",
                    token ? "Send `Authorization: Bearer TOKEN` with the token of " +
                                admin_token_place(config_) + "."
                          : "This asks for a token, and there is none: " + token.error() + ".");
  r.set(http::field::www_authenticate, "Bearer");
  return r;
}

std::size_t AdminRouter::body_max(std::string_view target) {
  return path_of(target).ends_with("/resolve") ? resolve_body_max : body_max_default;
}

Response AdminRouter::answer(const Request& request) const {
  if (auto refused = refuse(request)) return std::move(*refused);
  const auto target = text(request.target());
  const auto question = target.find('?');
  const auto query = question == std::string::npos ? "" : target.substr(question + 1);
  try {
    return route(request, path_of(target), query);
  } catch (const std::exception& e) {
    return admin_problem(500, "internal",
                         std::string("The request could not be answered: ") + e.what());
  }
}

Response AdminRouter::route(const Request& request, const std::string& path,
                            const std::string& query) const {
  const auto is = [&](http::verb verb) {
    return request.method() == verb ||
           (verb == http::verb::get && request.method() == http::verb::head);
  };
  const auto get = [&](auto make_it) {
    return is(http::verb::get) ? make_it() : not_allowed("GET, HEAD");
  };
  if (path == "/healthz") return get([] { return json(200, {{"status", "ok"}}); });
  if (path == "/readyz") return get([&] { return ready(); });
  if (path == "/metrics")
    return get([&] {
      return make(200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(metrics_));
    });
  if (path == "/ca.pem") return get([&] { return authority(); });
  if (path == "/api/stats") return get([&] { return stats(); });
  if (path == "/api/records") return get([&] { return list_records(query); });
  if (path.starts_with("/api/records/")) return record(request, path.substr(13));
  if (path == "/api/explain")
    return is(http::verb::post) ? explain_call(request) : not_allowed("POST");
  if (path == "/") return get([&] { return front_page(); });
  if (path == "/api/events")
    return admin_problem(404, "not-found", "Live events are not there yet; poll /api/records.");
  return admin_problem(
      404, "not-found",
      "Nothing is at " + path + ". Try /api/records, /api/stats, /metrics, /healthz.");
}

// What is here, in words that hold today.
Response AdminRouter::front_page() const {
  return make(
      200, "text/plain; charset=utf-8",
      "Ledger " LEDGER_VERSION
      ", admin endpoint. There is no dashboard yet; this is what there is:\n"
      "\n"
      "GET    /healthz                   does the process run?\n"
      "GET    /readyz                    can the store be written?\n"
      "GET    /metrics                   counters, as Prometheus text\n"
      "GET    /ca.pem                    the certificate that clients must trust\n"
      "GET    /api/stats                 counts by route\n"
      "GET    /api/records               records, newest first: ?state= route= agent= limit= "
      "cursor=\n"
      "GET    /api/records/ID            one record, with its answer's head and its history\n"
      "POST   /api/records/ID/resolve    settles a call in doubt       (token)\n"
      "DELETE /api/records/ID            forgets a record              (token)\n"
      "POST   /api/explain               what Ledger makes of a call; what it would get now with "
      "the token\n"
      "\n"
      "The token: " +
          admin_token_place(config_) + ", shown as `Authorization: Bearer TOKEN`.\n");
}

Response AdminRouter::ready() const {
  const auto phase = metrics_.phase.load();
  if (phase == Phase::starting)
    return json(503, {{"status", "starting"}, {"detail", "Not every listener listens yet."}});
  if (phase == Phase::draining)
    return json(503,
                {{"status", "draining"}, {"detail", "The proxy ends; it takes no new calls."}});
  const auto writable = store_.check_writable();
  if (writable) return json(200, {{"status", "ok"}});
  return json(503, {{"status", "unavailable"}, {"detail", writable.error().message}});
}

void AdminRouter::tell(const std::string& what, const Record& record, const std::string& by) const {
  constexpr std::size_t shown = 8, by_max = 128;
  if (!log_) return;
  // Once it is deleted, nothing else tells which call it was.
  log_(to_hex(record.id).substr(0, shown) + " was " + what + " by " + shown_text(by, by_max) +
       ": " + call_of(record));
}

// What clients must trust: never the key. A running proxy's own, not what `ledger ca rotate` has
// put on the disk since.
Response AdminRouter::authority() const {
  if (authority_) return make(200, "application/x-pem-file", authority_->certificate_pem());
  const auto opened = CertificateAuthority::open(config_);
  if (!opened) return admin_problem(503, "no-ca", opened.error());
  return make(200, "application/x-pem-file", (*opened)->certificate_pem());
}

Response AdminRouter::stats() const {
  await_counts(store_);
  const auto routes = store_.stats();
  if (!routes) return admin_problem(503, "store-unavailable", routes.error().message);
  auto body = stats_json(*routes);
  body["tunnels"] = tunnels_json(metrics_.tunnels);
  body["strict"] = config_.https.strict;
  return json(200, body);
}

Response AdminRouter::list_records(const std::string& query) const {
  Query q;
  q.limit = limit_default;
  for (const auto& [name, value] : parse_pairs(query)) {
    if (value.empty()) continue;
    if (name == "state") {
      q.state = state_from(value);
      if (!q.state)
        return admin_problem(
            400, "bad-request",
            "`state` is `" + value + "`: it is in_flight, completed, released or in_doubt.");
    } else if (name == "route") {
      q.route = value;
    } else if (name == "agent") {
      q.agent = value;
    } else if (name == "limit" || name == "cursor") {
      const auto n = number(value);
      if (!n || (name == "limit" && (*n == 0 || *n > limit_max)))
        return admin_problem(400, "bad-request",
                             name == "limit" ? "`limit` is a number from 1 to 1000."
                                             : "`cursor` is the `next` of the page before.");
      (name == "limit" ? q.limit : q.cursor) = *n;
    } else {
      return admin_problem(
          400, "bad-request",
          "`" + name + "` is not a filter: use state, route, agent, limit, cursor.");
    }
  }
  await_counts(store_);
  std::string body = "{\"records\":[";
  for (auto left = q.limit; left > 0 && body.size() < page_bytes;) {
    q.limit = std::min(left, records_at_once);
    left -= q.limit;
    const auto page = store_.scan(q);
    if (!page) return admin_problem(503, "store-unavailable", page.error().message);
    for (const auto& r : page->records)
      (body += body.ends_with('[') ? "" : ",") += dump(record_json(r, false));
    q.cursor = page->next;
    if (page->next == 0) break;
  }
  body += "],\"next\":" + (q.cursor == 0 ? "null" : '"' + std::to_string(q.cursor) + '"') + "}\n";
  return make(200, "application/json", std::move(body));
}

Response AdminRouter::record(const Request& request, const std::string& rest) const {
  const auto slash = rest.find('/');
  const auto action = slash == std::string::npos ? "" : rest.substr(slash);
  const auto id = from_hex(rest.substr(0, slash));
  if (!id)
    return admin_problem(404, "not-found", "A record's id is 64 hex digits, as in Ledger-Record.");
  if (action == "/resolve")
    return request.method() == http::verb::post ? resolve(request, *id) : not_allowed("POST");
  if (!action.empty())
    return admin_problem(404, "not-found",
                         "A record has nothing at " + action + "; there is /resolve.");

  if (request.method() == http::verb::delete_) {
    auto by = by_from(request.body());
    if (!by) return admin_problem(400, "bad-request", by.error());
    const auto deleted = delete_record(store_, *id);
    if (!deleted) return failed(deleted.error());
    tell("deleted", *deleted, by->empty() ? said_by(request) : *by);
    Response r;
    r.result(http::status::no_content);
    return r;
  }
  if (request.method() != http::verb::get && request.method() != http::verb::head)
    return not_allowed("GET, HEAD, DELETE");
  await_counts(store_);
  const auto found = load_now(store_, *id);
  if (!found) return admin_problem(503, "store-unavailable", found.error().message);
  if (!found->record)
    return admin_problem(
        404, "not-found",
        "There is no record with this id: it was never there, was deleted or has expired.");
  return json(200, record_json(*found->record, true));
}

Response AdminRouter::resolve(const Request& request, const Digest& id) const {
  auto resolution = resolution_from(request.body(), store_.now());
  if (!resolution) return admin_problem(400, "bad-request", resolution.error());
  if (resolution->by.empty()) resolution->by = said_by(request);
  const auto resolved = resolve_record(store_, id, *resolution);
  if (!resolved) return failed(resolved.error());
  tell(resolution->executed ? "resolved as executed" : "resolved as not executed", *resolved,
       resolution->by);
  return json(200, record_json(*resolved, true));
}

Response AdminRouter::explain_call(const Request& request) const {
  const auto call = explain_request_from(request.body());
  if (!call) return admin_problem(400, "bad-request", call.error());
  // What the store holds is not for who may only ask how a call is read.
  const auto explained = explain(config_, store_, *call, &metrics_.tunnels, shows_token(request));
  if (!explained) return admin_problem(400, "bad-request", explained.error());
  return json(200, *explained);
}

// HOST[:PORT] of Host or Origin: does it name this endpoint on loopback?
bool AdminRouter::own_name(std::string_view authority) const {
  const auto url = parse_url("http://" + std::string(authority));
  if (!url || url->port_number() != endpoint_.port) return false;
  auto host = url->host;
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  if (host == "localhost" || host == endpoint_.host) return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

bool AdminRouter::from_a_browser_elsewhere(const Head& head) const {
  if (text(head["Sec-Fetch-Site"]) == "cross-site") return true;
  const auto host = text(head[http::field::host]);
  const auto origin = head.find(http::field::origin);
  const auto from = origin == head.end() ? "" : text(origin->value());
  const auto authority = from.substr(std::min(from.size(), from.find("://") + 3));
  if (endpoint_.loopback())
    return !own_name(host) ||
           (origin != head.end() && !(from.starts_with("http://") && own_name(authority)));
  // Beyond loopback the names that lead here are not known, so a foreign Host cannot be told (the
  // token protects); a page's own origin is the host that it talks to.
  return origin != head.end() &&
         !(from.starts_with("http") && boost::beast::iequals(authority, host));
}

bool AdminRouter::shows_token(const Head& head) const {
  const auto given = text(head[http::field::authorization]);
  constexpr std::string_view scheme = "Bearer ";
  if (!boost::beast::iequals(given.substr(0, scheme.size()), "Bearer ")) return false;
  const auto token = std::string_view(given).substr(scheme.size());
  const auto expected = admin_token(config_);
  return expected && token.size() == expected->size() &&
         CRYPTO_memcmp(token.data(), expected->data(), token.size()) == 0;
}

}  // namespace ledger
