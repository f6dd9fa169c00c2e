#include "guard/problem.h"

#include <nlohmann/json.hpp>

namespace ledger {
namespace problem {
namespace {

Problem make(std::string_view slug, int status, std::string_view title, std::string detail,
             bool safe_to_retry) {
  Problem p;
  p.slug = slug;
  p.status = status;
  p.title = title;
  p.detail = std::move(detail);
  p.safe_to_retry = safe_to_retry;
  p.advice = safe_to_retry ? "retry" : "fix";
  return p;
}

Problem advised(Problem p, std::string_view advice) {
  p.advice = advice;
  return p;
}

// One that is about a record in `state`, told with its own Ledger-Status.
Problem about(Problem p, State state, std::string_view ledger_status) {
  p.state = state;
  p.ledger_status = ledger_status;
  return p;
}

// One that only a person can end; problem_json() adds what to tell whom.
Problem in_question(Problem p, std::string_view ledger_status) {
  return advised(about(std::move(p), State::in_doubt, ledger_status), "ask_a_person");
}

std::string sentence(std::string_view before, std::string_view why, std::string_view after) {
  std::string s(before);
  s += why;
  s += after;
  return s;
}

}  // namespace

Problem bad_request(std::string detail) {
  return make("bad-request", 400, "The request is malformed", std::move(detail), false);
}

Problem key_missing(std::string detail) {
  return make("key-missing", 400, "The call lacks a part of its key", std::move(detail), false);
}

Problem key_reused(State state) {
  return about(
      make("key-reused", 422, "The key was used for a different call",
           "This key already names a call with another method, target or body; nothing was sent. "
           "Use a new key for a new call, or repeat the first call unchanged.",
           false),
      state, "mismatch");
}

Problem key_is_record() {
  return make(
      "bad-request", 400, "The key is a record's id",
      "The header Ledger-Key holds the id of a record (Ledger-Record of an earlier answer), "
      "which is no key; nothing was sent. To repeat that call, send it as it was, without "
      "Ledger-Key; for a new call, choose a key of your own.",
      false);
}

Problem duplicate_blocked() {
  return advised(
      about(
          make("duplicate-blocked", 409, "This call has been made already",
               "The same call was executed before and this route blocks repeats; nothing was sent. "
               "Do not retry: treat it as done.",
               false),
          State::completed, "blocked"),
      "stop");
}

Problem in_flight() {
  auto p = about(make("in-flight", 409, "The same call is still running",
                      "The first of these calls has not ended yet; nothing was sent for this one. "
                      "Ask again later with the same call to get the first one's answer.",
                      true),
                 State::in_flight, "in-flight");
  // Most calls end soon, however long the route would wait for them.
  p.retry_after_s = 2;
  return advised(std::move(p), "wait");
}

Problem in_doubt(std::string_view why) {
  return in_question(
      make("in-doubt", 409, "It is not known whether this call took effect",
           sentence("An earlier sending of this call ended without a clear answer (", why,
                    "); it may or may not have taken effect, so it was not sent again."),
           false),
      "in-doubt");
}

Problem answer_not_stored(std::string_view why) {
  return advised(
      about(
          make("answer-not-stored", 409, "The call was made, but its answer is not kept",
               sentence("The call was executed before and was not sent again; its answer cannot be "
                        "repeated because ",
                        why, ". Do not retry: treat it as done."),
               false),
          State::completed, "replayed"),
      "stop");
}

Problem rejection_not_stored(int status) {
  return about(
      make("answer-not-stored", 409, "The call was rejected, and the answer is not kept",
           "The destination rejected the call with status " + std::to_string(status) +
               ", which says that nothing happened; the rest of its answer was longer than the "
               "route's `response_max`. The same call may be sent again.",
           true),
      State::released, "joined");
}

Problem body_too_large(std::size_t limit) {
  return make("body-too-large", 413, "The request's body is too large to guard",
              "A guarded call is read whole before it is sent, up to " + std::to_string(limit) +
                  " bytes; nothing was sent. Send less, raise `body_max`, or give the route "
                  "`policy: pass`.",
              false);
}

Problem header_too_large(std::size_t limit) {
  return make("header-too-large", 431, "The request's header is too large",
              "The request line and header fields exceed " + std::to_string(limit) +
                  " bytes; nothing was sent.",
              false);
}

Problem request_timeout() {
  return make("request-timeout", 408, "The request did not arrive in time",
              "The rest of the request did not arrive; nothing was sent. Send it again.", true);
}

Problem not_mounted(std::string_view path) {
  return make(
      "not-mounted", 404, "Nothing is mounted at this path",
      sentence("No mount in the configuration matches ", path,
               "; nothing was sent. Use a mounted prefix, or set HTTP_PROXY to this address."),
      false);
}

Problem proxy_auth_required() {
  return make(
      "proxy-auth-required", 407, "The proxy asks for its token",
      "Put the token into the proxy URL, as http://AGENT:TOKEN@HOST:PORT; nothing was sent.",
      false);
}

Problem token_required() {
  return make("token-required", 401, "The proxy asks for its token",
              "Send the token in the Ledger-Token header; nothing was sent.", false);
}

Problem not_implemented(std::string detail) {
  return make("not-implemented", 501, "Not supported", std::move(detail), false);
}

Problem store_unavailable(std::string_view why) {
  return advised(make("store-unavailable", 503, "The record of calls cannot be written",
                      sentence("The call was not sent, because it could not be recorded first (",
                               why, "). Retry once the store works again."),
                      true),
                 "wait");
}

Problem draining() {
  auto p = make("draining", 503, "The proxy is shutting down",
                "No new calls are taken; nothing was sent. Retry in a moment.", true);
  p.retry_after_s = 1;
  return advised(std::move(p), "wait");
}

Problem too_busy() {
  auto p = make("too-busy", 503, "The proxy has too many connections",
                "The limit of connections is reached; nothing was sent. Retry in a moment.", true);
  p.retry_after_s = 1;
  return advised(std::move(p), "wait");
}

Problem memory_full() {
  auto p =
      make("too-busy", 503, "The proxy has no memory for this call now",
           "The bodies and answers of other calls hold all of `limits.memory`; nothing was sent "
           "for this one. Retry in a moment.",
           true);
  p.retry_after_s = 1;
  return advised(std::move(p), "wait");
}

Problem many_bodies() {
  auto p = make("too-busy", 503, "The proxy reads other bodies now",
                "Long or compressed bodies are read one after another, and this one's turn did not "
                "come in time; nothing was sent for it. Retry in a moment.",
                true);
  p.retry_after_s = 1;
  return advised(std::move(p), "wait");
}

Problem loop_detected() {
  return make(
      "loop-detected", 508, "This request would go round in a circle",
      "The request is for the proxy itself or has passed through it already; nothing was sent. "
      "Check the proxy settings and the mounts.",
      false);
}

Problem upstream_unreachable(std::string_view why) {
  auto p = make("upstream-unreachable", 502, "The destination could not be reached",
                sentence("No byte of the request was sent: ", why, ". It is safe to retry."), true);
  return p;
}

Problem outcome_unknown(std::string_view why, bool timed_out) {
  return in_question(make("outcome-unknown", timed_out ? 504 : 502,
                          "It is not known whether this call took effect",
                          sentence("The request was sent but no clear answer came: ", why,
                                   ". It may have taken effect."),
                          false),
                     "executed");
}

Problem upstream_failed(std::string_view why, bool timed_out) {
  auto p = make("upstream-failed", timed_out ? 504 : 502, "The destination did not answer properly",
                sentence("The request was passed on without a guard, and ", why,
                         ". Whether it took effect is not known."),
                false);
  p.ledger_status = "passed";
  return advised(std::move(p), "stop");
}

Problem tunnel_not_opened(std::string_view host) {
  return make(
      "tunnel-not-opened", 403, "The tunnel's calls would go by unseen",
      sentence("No route names ", host,
               " over https, so this tunnel could not be guarded, and `https.strict` refuses such "
               "tunnels; nothing was sent. Whoever runs the proxy can name the host in a route."),
      false);
}

Problem egress_denied(std::string_view why) {
  return make("egress-denied", 403, "Calls may not go there",
              sentence("", why,
                       "; nothing was sent. Do not retry, and do not try another way: ask the "
                       "operator, who can allow it under `egress` in ledger.yaml."),
              false);
}

Problem host_not_allowed(std::string_view why) {
  return make("host-not-allowed", 403, "This address is not to be called in this way",
              sentence("", why, "; nothing was sent."), false);
}

Problem not_reached(NotReached reason, std::string_view why) {
  if (reason == NotReached::loop) return loop_detected();
  if (reason == NotReached::denied) return egress_denied(why);
  return upstream_unreachable(why);
}

}  // namespace problem

namespace {

// What an agent is to do about a doubt. Settling it is never among that: one that did so on a guess
// has doubled the effect.
std::string detail_of(const Problem& p, std::string_view record) {
  if (p.advice != "ask_a_person") return p.detail;
  return p.detail + " Do not send it again, under this or another key: stop, and report " +
         (record.empty() ? "this" : "record " + std::string(record)) +
         " to a person, who can look at the destination.";
}

}  // namespace

std::string problem_json(const Problem& p, std::string_view record, std::string_view route) {
  const auto detail = detail_of(p, record);
  nlohmann::ordered_json j;
  j["type"] = "urn:ledger:" + std::string(p.slug);
  j["title"] = p.title;
  j["status"] = p.status;
  j["detail"] = detail;
  if (!record.empty()) j["record"] = record;
  if (!route.empty()) j["route"] = route;
  if (p.state) j["state"] = to_string(*p.state);
  j["safe_to_retry"] = p.safe_to_retry;
  j["advice"] = p.advice;
  // What SDKs show their users.
  j["message"] = detail;
  j["error"] = {{"type", p.slug}, {"code", p.slug}, {"message", detail}};
  // A route's name or a cause may hold bytes that are not UTF-8; an error must not fail for that.
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace ledger
