#include "proxy/probe.h"

#include <nlohmann/json.hpp>

#include "fingerprint/shallow_json.h"
#include "proxy/head_parser.h"
#include "proxy/http_exchange.h"
#include "proxy/pipeline.h"

namespace ledger {
namespace {

constexpr std::chrono::seconds probe_max{10};  // a repeat waits no longer for a probe's answer

using Json = nlohmann::ordered_json;

// As a document it takes some twenty times as much, for a moment.
constexpr std::size_t body_max = std::size_t{1} << 20;

// What stands at `pointer`; null where nothing does.
const Json* at(const Json& document, const std::string& pointer) {
  try {
    const Json::json_pointer where(pointer);
    return document.contains(where) ? &document.at(where) : nullptr;
  } catch (const Json::exception&) {
    return nullptr;  // no valid pointer, or one into a list by a name
  }
}

// A search that found nothing says so with null, false, "" or an empty list as well.
bool is_something(const Json& value) {
  if (value.is_null() || (value.is_boolean() && !value.get<bool>())) return false;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !(value.is_structured() && value.empty());
}

AnswerPtr answer_of(const ProbeRule& rule, const Json& document, const std::string& body,
                    Instant now) {
  auto answer = std::make_shared<Answer>();
  answer->status = 200;
  answer->reason = "OK";
  answer->headers = {{"Content-Type", "application/json"}};
  answer->received_at = now;
  auto pointer = rule.answer;
  if (pointer.empty()) pointer = rule.executed_if.substr(0, rule.executed_if.rfind('/'));
  if (!rule.answer.empty() && !rule.answer.starts_with('/'))
    answer->body = rule.answer;
  else if (pointer.empty())
    answer->body = body;
  else if (const auto* part = at(document, pointer))
    answer->body = part->dump(-1, ' ', false, Json::error_handler_t::replace);
  else
    return nullptr;
  return answer;
}

OutgoingRequest request_for(const Url& url, bool insecure, const Headers& headers) {
  OutgoingRequest out;
  out.url = url;
  out.insecure = insecure;
  out.body = std::make_shared<const std::string>();
  append_request_line(out.head, "GET", url.spelled_path() + (url.has_query ? "?" + url.query : ""));
  append_field(out.head, "Host", url.host + (url.port.empty() ? "" : ":" + url.port));
  append_field(out.head, "Accept", "application/json");
  append_field(out.head, "User-Agent", "ledger");
  for (const auto& [name, value] : headers) {
    append_field(out.head, name, value);
    out.binds = out.binds || binds_connection({name, value});
  }
  out.head += "\r\n";
  return out;
}

Probed unclear(std::string why) {
  Probed probed;
  probed.detail = std::move(why);
  return probed;
}

}  // namespace

std::string probe_url(const ProbeRule& rule, const Call& call, const IdentityRules& identity,
                      const Captures& captures) {
  const auto text = fill_url_template(rule.get, call, identity, captures);
  if (!text) return "";
  const auto url = parse_url(text->starts_with('/') ? call.url->origin() + *text : *text);
  return url ? url->to_string() : "";
}

Probed read_probe(const ProbeRule& rule, int status, const std::string& body, Instant now) {
  Probed probed;
  probed.detail = "the probe's status is " + std::to_string(status);
  if (status == 404 || status == 410) probed.result = Probed::Result::not_found;
  if (status / 100 != 2) return probed;
  JsonFault fault{};
  const auto document = parse_shallow<Json>(body, fault);
  if (fault == JsonFault::too_deep) return unclear("the probe's answer is nested too deeply");
  if (!document) return unclear("the probe's answer is not JSON");
  const auto* found = at(*document, rule.executed_if);
  probed.result = Probed::Result::not_found;
  probed.detail = "the probe found nothing at " + rule.executed_if;
  if (found == nullptr || !is_something(*found)) return probed;
  probed.result = Probed::Result::happened;
  probed.detail = "the probe found it at " + rule.executed_if;
  probed.answer = answer_of(rule, *document, body, now);
  return probed;
}

Awaitable<Probed> ask(UpstreamPool& pool, const ProbeRule& rule, std::string url, bool insecure,
                      Headers headers, SteadyClock::time_point deadline) {
  const auto parsed = parse_url(url);
  if (!parsed) co_return unclear("the probe's URL is malformed");
  auto request = request_for(*parsed, insecure, headers);
  request.configured = pool.reach().is_configured(*parsed);
  HttpExchange exchange(pool, std::move(request));
  const auto connected = co_await exchange.connect(deadline);
  if (!connected.error.empty()) co_return unclear("the probe was not sent: " + connected.error);
  exchange.expires_at(deadline);
  const auto started = co_await exchange.start();
  if (!started.error.empty()) co_return unclear("the probe got no answer: " + started.error);
  std::string body;
  while (!started.head.bodyless) {
    const auto more = co_await exchange.read(body);
    if (!more.error.empty()) co_return unclear("the probe got no answer: " + more.error);
    if (body.size() > body_max) co_return unclear("the probe's answer is too long");
    if (more.done) break;
  }
  const auto now =
      std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  co_return read_probe(rule, started.head.status, body, now);
}

// --- a repeat that finds a doubt ---------------------------------------------------------------

// Asks with the route's credentials, or with this caller's. Another account may not see what this
// one did, so "not found" counts only where the credential is part of the key.
Awaitable<Probed> Session::probe(const CallState& call, const Record& record) {
  const auto& policy = *call.to->policy;
  const auto& rule = *policy.probe;
  Probed probed;
  if (!record.request || record.request->probe.empty()) co_return probed;
  Headers headers = rule.headers.value_or(Headers());
  if (!rule.headers)
    for (const auto& field : call.head.fields)
      if (is_credential(field.name, policy.identity))
        headers.emplace_back(std::string(field.name), std::string(field.value));
  const auto deadline =
      SteadyClock::now() + std::min<SteadyClock::duration>(policy.timeout, probe_max);
  // Only who the mount names goes unverified.
  const auto& target = call.to->target;
  const auto asked = parse_url(record.request->probe);
  const bool insecure = target.insecure && asked && asked->origin() == target.url.origin();
  probed = co_await ask(worker_.pool, rule, record.request->probe, insecure, std::move(headers),
                        deadline);
  const auto& scope = policy.identity.scope;
  const bool same_account =
      std::find(scope.begin(), scope.end(), ScopePart::credential) != scope.end();
  if (!rule.headers && !same_account && probed.result == Probed::Result::not_found)
    probed.result = Probed::Result::unclear;
  co_return probed;
}

}  // namespace ledger
