#include "admin/bodies.h"

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/status.hpp>
#include <initializer_list>

#include "config/route.h"
#include "fingerprint/shallow_json.h"

namespace ledger {
namespace {

using Failure = tl::unexpected<std::string>;

bool iequals(std::string_view a, std::string_view b) {
  return boost::beast::iequals({a.data(), a.size()}, {b.data(), b.size()});
}

tl::expected<Json, std::string> object_from(std::string_view text,
                                            std::initializer_list<std::string_view> members) {
  JsonFault fault{};
  auto parsed = parse_shallow<Json>(text, fault);
  if (fault == JsonFault::too_deep) return Failure("The body is refused: it is nested too deeply.");
  if (!parsed) return Failure("The body is not JSON.");
  auto& j = *parsed;
  if (!j.is_object()) return Failure("The body is not a JSON object.");
  for (const auto& [name, value] : j.items())
    if (std::find(members.begin(), members.end(), name) == members.end())
      return Failure("The body has no member `" + name + "`.");
  return std::move(*parsed);
}

const Json& member(const Json& j, const char* name) {
  static const Json none;
  const auto at = j.find(name);
  return at == j.end() ? none : *at;
}

// A header's value may not end its line, or hold what HTTP forbids (RFC 9110 section 5.5).
bool is_field_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(),
                      [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

// Headers as an object, or as a list of [name, value].
tl::expected<Headers, std::string> headers_from(const Json& j) {
  const Failure failure("`headers` is an object, or a list of [name, value], of strings.");
  Headers headers;
  const auto add = [&](const Json& name, const Json& value) {
    if (!name.is_string() || !value.is_string()) return false;
    headers.emplace_back(name.get<std::string>(), value.get<std::string>());
    return is_token(headers.back().first) && is_field_value(headers.back().second);
  };
  if (j.is_null()) return headers;
  if (!j.is_object() && !j.is_array()) return failure;
  for (const auto& [name, value] : j.items()) {
    const bool pair = j.is_array() && value.is_array() && value.size() == 2;
    if (j.is_array() && !pair) return failure;
    if (!(pair ? add(value[0], value[1]) : add(name, value))) return failure;
  }
  return headers;
}

// A body given as a string, or as a JSON value (which is JSON then, if nothing else is said).
std::string body_from(const Json& j, Headers& headers) {
  if (j.is_null()) return "";
  if (j.is_string()) return j.get<std::string>();
  const bool typed = std::any_of(headers.begin(), headers.end(),
                                 [](const auto& h) { return iequals(h.first, "Content-Type"); });
  if (!typed) headers.emplace_back("Content-Type", "application/json");
  return dump(j);
}

// Those say how one connection carries a message, which is the proxy's to say.
bool is_framing(std::string_view name) {
  static constexpr std::array<std::string_view, 8> names{
      "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection",
      "TE",         "Trailer",        "Upgrade",    "Transfer-Encoding"};
  return std::any_of(names.begin(), names.end(), [&](auto n) { return iequals(n, name); });
}

tl::expected<AnswerPtr, std::string> answer_from(const Json& response, Instant now) {
  const Failure failure(
      "`response` is {\"status\": 200, \"headers\": {…}, \"body\": …}: status from 200 to 599, "
      "headers as an object or a list of [name, value], body as a string or any JSON value.");
  if (!response.is_object()) return failure;
  for (const auto& [name, value] : response.items())
    if (name != "status" && name != "headers" && name != "body") return failure;
  const auto& status = member(response, "status");
  if (!status.is_null() && !(status.is_number_integer() && status >= 200 && status <= 599))
    return failure;
  auto headers = headers_from(member(response, "headers"));
  if (!headers) return failure;

  Answer answer;
  answer.status = status.is_null() ? 200 : status.get<int>();
  namespace http = boost::beast::http;
  const auto known = http::int_to_status(static_cast<unsigned>(answer.status));
  if (known != http::status::unknown) {
    const auto reason = http::obsolete_reason(known);
    answer.reason.assign(reason.data(), reason.size());
  }
  std::erase_if(*headers, [](const auto& h) { return is_framing(h.first); });
  answer.body = body_from(member(response, "body"), *headers);
  answer.headers = std::move(*headers);
  answer.received_at = now;
  if (!answer.body.empty() && (answer.status == 204 || answer.status == 304))
    return Failure("A response of status " + std::to_string(answer.status) + " has no body.");
  return std::make_shared<const Answer>(std::move(answer));
}

tl::expected<std::string, std::string> by_in(const Json& j) {
  const auto& by = member(j, "by");
  if (by.is_null()) return "";
  if (!by.is_string()) return Failure("`by` is a person's name, a string.");
  return by.get<std::string>();
}

}  // namespace

tl::expected<std::string, std::string> by_from(std::string_view body) {
  if (body.empty()) return "";
  const auto j = object_from(body, {"by"});
  if (!j) return Failure(j.error() + " Send nothing, or {\"by\": \"a name\"}.");
  return by_in(*j);
}

tl::expected<Resolved, std::string> resolution_from(std::string_view body, Instant now) {
  const std::string accepted =
      " Send {\"verdict\": \"executed\"} or {\"verdict\": \"not_executed\"}; with `executed` "
      "also a `response` to answer repeats with.";
  const auto j = object_from(body, {"verdict", "response", "by"});
  if (!j) return Failure(j.error() + accepted);
  const auto& verdict = member(*j, "verdict");
  if (verdict != "executed" && verdict != "not_executed")
    return Failure("`verdict` is missing or is neither." + accepted);
  Resolved resolution;
  resolution.executed = verdict == "executed";
  auto by = by_in(*j);
  if (!by) return Failure(by.error());
  resolution.by = std::move(*by);
  const auto& response = member(*j, "response");
  if (response.is_null()) return resolution;
  if (!resolution.executed)
    return Failure("A call that was not executed has no `response`." + accepted);
  auto answer = answer_from(response, now);
  if (!answer) return Failure(answer.error());
  resolution.answer = std::move(*answer);
  return resolution;
}

tl::expected<ExplainRequest, std::string> explain_request_from(std::string_view body) {
  const std::string accepted =
      " Send {\"method\": \"POST\", \"url\": \"https://…\", \"headers\": {…}, \"body\": …}.";
  const auto j = object_from(body, {"method", "url", "headers", "body", "agent", "run"});
  if (!j) return Failure(j.error() + accepted);
  ExplainRequest request;
  request.method = "POST";
  const auto text = [&](const char* name, std::string& into) {
    const auto& value = member(*j, name);
    if (value.is_string()) into = value.get<std::string>();
    return value.is_string() || value.is_null();
  };
  for (const auto& [name, into] : {std::pair{"method", &request.method},
                                   {"url", &request.url},
                                   {"agent", &request.agent},
                                   {"run", &request.run}})
    if (!text(name, *into)) return Failure("`" + std::string(name) + "` is a string." + accepted);
  if (request.url.empty()) return Failure("`url` is missing." + accepted);
  auto headers = headers_from(member(*j, "headers"));
  if (!headers) return Failure(headers.error());
  // As from a client of a mount: they name the caller and are no part of the call.
  std::erase_if(*headers, [&](const auto& h) {
    auto* into = iequals(h.first, "Ledger-Agent") ? &request.agent
                 : iequals(h.first, "Ledger-Run") ? &request.run
                                                  : nullptr;
    if (into && into->empty()) *into = h.second;
    return into != nullptr;
  });
  request.body = body_from(member(*j, "body"), *headers);
  request.headers = std::move(*headers);
  return request;
}

}  // namespace ledger
