#include "admin/router.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/string.hpp>

#include "admin/explain.h"
#include "admin/json.h"
#include "fingerprint/url.h"
#include "guard/operate.h"

namespace ledger {
namespace {

using Response = AdminRouter::Response;
using Request = AdminRouter::Request;

constexpr std::size_t limit_default = 100, limit_max = 1000;

Response make(int status, std::string_view type, std::string body) {
  Response r;
  r.result(static_cast<unsigned>(status));
  r.set(http::field::content_type, boost::beast::string_view(type.data(), type.size()));
  r.set(http::field::cache_control, "no-store");
  r.body() = std::move(body);
  return r;
}

Response json(int status, const Json& body) {
  return make(status, "application/json", dump(body) + "\n");
}

Response refusal(int status, std::string_view slug, const std::string& detail) {
  Json j;
  j["type"] = "urn:ledger:" + std::string(slug);
  const auto title = http::obsolete_reason(static_cast<http::status>(status));
  j["title"] = std::string(title.data(), title.size());
  j["status"] = status;
  j["detail"] = detail;
  return make(status, "application/problem+json", dump(j) + "\n");
}

Response not_allowed(std::string_view allow) {
  auto r = refusal(405, "method-not-allowed", "This path takes " + std::string(allow) + ".");
  r.set(http::field::allow, boost::beast::string_view(allow.data(), allow.size()));
  return r;
}

Response failed(const OperateError& e) {
  if (e.kind == OperateError::Kind::not_found) return refusal(404, "not-found", e.message);
  if (e.kind == OperateError::Kind::conflict) return refusal(409, "conflict", e.message);
  return refusal(503, "store-unavailable", e.message);
}

std::string text(boost::beast::string_view s) { return {s.data(), s.size()}; }

std::optional<std::uint64_t> number(const std::string& s) {
  if (s.empty() || s.size() > 19 || s.find_first_not_of("0123456789") != s.npos)
    return std::nullopt;
  return std::stoull(s);
}

// "headers" of a JSON body: an object, or a list of [name, value].
std::optional<Headers> headers_from(const Json& j) {
  Headers headers;
  if (j.is_null()) return headers;
  if (j.is_object()) {
    for (const auto& [name, value] : j.items()) {
      if (!value.is_string()) return std::nullopt;
      headers.emplace_back(name, value.get<std::string>());
    }
    return headers;
  }
  if (!j.is_array()) return std::nullopt;
  for (const auto& pair : j) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      return std::nullopt;
    headers.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
  }
  return headers;
}

bool has_header(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& h) {
    return boost::beast::iequals(h.first, boost::beast::string_view(name.data(), name.size()));
  });
}

// A body given as a string, or as a JSON value (which is JSON then, if nothing else is said).
std::string body_from(const Json& j, Headers& headers) {
  if (j.is_null()) return "";
  if (j.is_string()) return j.get<std::string>();
  if (!has_header(headers, "Content-Type"))
    headers.emplace_back("Content-Type", "application/json");
  return dump(j);
}

Json member(const Json& j, const char* name) { return j.contains(name) ? j[name] : Json(nullptr); }

}  // namespace

Response AdminRouter::answer(const Request& request) const {
  const auto target = text(request.target());
  const auto question = target.find('?');
  const auto path = percent_decode(target.substr(0, question), false);
  const auto query = question == std::string::npos ? "" : target.substr(question + 1);

  // A page elsewhere that gets a browser to talk to this address (DNS rebinding, cross-site
  // requests).
  if (from_a_browser_elsewhere(request))
    return refusal(
        403, "forbidden",
        "This request's Host or Origin is not this endpoint's own address; it is refused.");
  if (path != "/healthz" && path != "/readyz" && !has_token(request)) {
    auto r = refusal(401, "token-required",
                     "Send `Authorization: Bearer TOKEN` with the token of `admin:`.");
    r.set(http::field::www_authenticate, "Bearer");
    return r;
  }
  try {
    return route(request, path, query);
  } catch (const std::exception& e) {
    return refusal(500, "internal", std::string("The request could not be answered: ") + e.what());
  }
}

Response AdminRouter::route(const Request& request, const std::string& path,
                            const std::string& query) const {
  const auto is = [&](http::verb verb) {
    return request.method() == verb ||
           (verb == http::verb::get && request.method() == http::verb::head);
  };
  const auto get = [&](auto make_it) {
    return is(http::verb::get) ? make_it() : not_allowed("GET");
  };
  if (path == "/healthz") return get([] { return json(200, {{"status", "ok"}}); });
  if (path == "/readyz") return get([&] { return ready(); });
  if (path == "/metrics")
    return get([&] { return make(200, "text/plain; version=0.0.4", metrics_text(metrics_)); });
  if (path == "/api/stats") return get([&] { return stats(); });
  if (path == "/api/records") return get([&] { return list_records(query); });
  if (path.starts_with("/api/records/")) return record(request, path.substr(13));
  if (path == "/api/explain")
    return is(http::verb::post) ? explain_call(request) : not_allowed("POST");
  return refusal(404, "not-found",
                 "Nothing is at " + path + ". Try /api/records, /api/stats, /metrics, /healthz.");
}

Response AdminRouter::ready() const {
  const auto writable = store_.check_writable();
  if (writable) return json(200, {{"status", "ok"}});
  return json(503, {{"status", "unavailable"}, {"detail", writable.error().message}});
}

Response AdminRouter::stats() const {
  const auto routes = store_.stats();
  if (!routes) return refusal(503, "store-unavailable", routes.error().message);
  return json(200, stats_json(*routes));
}

Response AdminRouter::list_records(const std::string& query) const {
  Query q;
  q.limit = limit_default;
  for (const auto& [name, value] : parse_pairs(query)) {
    if (value.empty()) continue;
    if (name == "state") {
      q.state = state_from(value);
      if (!q.state)
        return refusal(
            400, "bad-request",
            "`state` is `" + value + "`: it is in_flight, completed, released or in_doubt.");
    } else if (name == "route") {
      q.route = value;
    } else if (name == "agent") {
      q.agent = value;
    } else if (name == "limit" || name == "cursor") {
      const auto n = number(value);
      if (!n || (name == "limit" && (*n == 0 || *n > limit_max)))
        return refusal(400, "bad-request",
                       name == "limit" ? "`limit` is a number from 1 to 1000."
                                       : "`cursor` is the `next` of the page before.");
      (name == "limit" ? q.limit : q.cursor) = *n;
    } else {
      return refusal(400, "bad-request",
                     "`" + name + "` is not a filter: use state, route, agent, limit, cursor.");
    }
  }
  const auto page = store_.scan(q);
  if (!page) return refusal(503, "store-unavailable", page.error().message);
  Json j;
  j["records"] = Json::array();
  for (const auto& r : page->records) j["records"].push_back(record_json(r, false));
  j["next"] = page->next == 0 ? Json(nullptr) : Json(std::to_string(page->next));
  return json(200, j);
}

Response AdminRouter::record(const Request& request, const std::string& rest) const {
  const auto slash = rest.find('/');
  const auto action = slash == std::string::npos ? "" : rest.substr(slash);
  const auto id = from_hex(rest.substr(0, slash));
  if (!id) return refusal(404, "not-found", "A record's id is 64 hex digits, as in Ledger-Key.");
  if (action == "/resolve")
    return request.method() == http::verb::post ? resolve(request, *id) : not_allowed("POST");
  if (!action.empty())
    return refusal(404, "not-found", "A record has nothing at " + action + "; there is /resolve.");

  if (request.method() == http::verb::delete_) {
    const auto deleted = delete_record(store_, *id);
    if (!deleted) return failed(deleted.error());
    Response r;
    r.result(http::status::no_content);
    return r;
  }
  if (request.method() != http::verb::get && request.method() != http::verb::head)
    return not_allowed("GET, DELETE");
  const auto found = load_now(store_, *id);
  if (!found) return refusal(503, "store-unavailable", found.error().message);
  if (!found->record)
    return refusal(
        404, "not-found",
        "There is no record with this id: it was never there, was deleted or has expired.");
  return json(200, record_json(*found->record, true));
}

Response AdminRouter::resolve(const Request& request, const Digest& id) const {
  const auto body = Json::parse(request.body(), nullptr, false);
  const auto verdict = body.is_object() ? member(body, "verdict") : Json(nullptr);
  if (verdict != "executed" && verdict != "not_executed")
    return refusal(400, "bad-request",
                   "Send {\"verdict\": \"executed\"} or {\"verdict\": \"not_executed\"}.");
  AnswerPtr answer;
  if (const auto response = member(body, "response"); !response.is_null()) {
    const auto status = response.is_object() ? member(response, "status") : Json(nullptr);
    auto headers = response.is_object() ? headers_from(member(response, "headers")) : std::nullopt;
    if (verdict != "executed" || !headers ||
        !(status.is_null() || (status.is_number_integer() && status >= 200 && status <= 599)))
      return refusal(400, "bad-request",
                     "`response` goes with `executed` and is {\"status\": 200, \"headers\": {…}, "
                     "\"body\": …}.");
    auto given = std::make_shared<Answer>();
    given->status = status.is_null() ? 200 : status.get<int>();
    given->body = body_from(member(response, "body"), *headers);
    given->headers = std::move(*headers);
    given->received_at = store_.now();
    answer = std::move(given);
  }
  const auto resolved = resolve_record(store_, id, verdict == "executed", std::move(answer));
  if (!resolved) return failed(resolved.error());
  return json(200, record_json(*resolved, true));
}

Response AdminRouter::explain_call(const Request& request) const {
  const auto body = Json::parse(request.body(), nullptr, false);
  const auto bad = [] {
    return refusal(
        400, "bad-request",
        "Send {\"method\": \"POST\", \"url\": \"https://…\", \"headers\": {…}, \"body\": …}.");
  };
  if (!body.is_object()) return bad();
  const auto url = member(body, "url"), method = member(body, "method");
  auto headers = headers_from(member(body, "headers"));
  if (!url.is_string() || !(method.is_string() || method.is_null()) || !headers) return bad();
  ExplainRequest call;
  call.method = method.is_null() ? "POST" : method.get<std::string>();
  call.url = url.get<std::string>();
  call.body = body_from(member(body, "body"), *headers);
  call.headers = std::move(*headers);
  const auto explained = explain(config_, store_, call);
  if (!explained) return refusal(400, "bad-request", explained.error());
  return json(200, *explained);
}

// HOST[:PORT] of Host or of an Origin: does it name this endpoint?
bool AdminRouter::own_name(std::string_view authority) const {
  const auto url = parse_url("http://" + std::string(authority));
  if (!url || url->port_number() != endpoint_.port) return false;
  auto host = url->host;
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  if (host == "localhost" || host == endpoint_.host) return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  // Any address is safe: rebinding needs a name.
  return !error && (address.is_loopback() || !endpoint_.loopback());
}

bool AdminRouter::from_a_browser_elsewhere(const Request& request) const {
  if (const auto origin = request.find(http::field::origin); origin != request.end()) {
    const auto value = text(origin->value());
    if (!value.starts_with("http://") || !own_name(std::string_view(value).substr(7))) return true;
  }
  if (text(request["Sec-Fetch-Site"]) == "cross-site") return true;
  // Beyond loopback, behind names that are not known here, the token protects.
  if (!endpoint_.loopback()) return false;
  return !own_name(text(request[http::field::host]));
}

bool AdminRouter::has_token(const Request& request) const {
  if (config_.admin_token.empty()) return true;
  const auto given = text(request[http::field::authorization]);
  const auto expected = "Bearer " + config_.admin_token;
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), given.size()) == 0;
}

}  // namespace ledger
