// The settings of calls: routes, what they inherit, and the ways in that bring calls. One row a
// key.
#include <initializer_list>

#include "config/hints.h"
#include "config/settings_rows.h"

namespace ledger {

using namespace rows;

namespace {

Parsed<std::string> parse_header_name(std::string_view text) {
  if (is_token(text) && !is_switch(text) && !is_number(text)) return std::string(text);
  return tl::unexpected(code(text) + " is not a header name, such as `X-Shop`");
}

Parsed<std::string> parse_name(std::string_view text) {
  const bool visible =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (visible && text.size() <= 128) return std::string(text);
  return tl::unexpected<std::string>(
      "a route's name goes into a header: printable ASCII without spaces, up to 128 characters");
}

void read_scope(Reader& in, const Entry& entry, Policy& policy) {
  auto& scope = policy.identity.scope;
  scope.clear();
  const auto items = in.items(entry);
  if (items.empty())
    in.fail(entry.at, "`scope`: an empty scope; write `none` for one identity whoever calls");
  for (const auto& item : items) {
    const auto text = in.text({entry.key, entry.at, item});
    if (!text) continue;
    if (*text == "none") {
      if (items.size() > 1) in.fail(item.Mark(), "`scope`: `none` stands alone");
      continue;
    }
    const auto part = parse_word<ScopePart>(*text, {{"credential", ScopePart::credential},
                                                    {"agent", ScopePart::agent},
                                                    {"run", ScopePart::run}});
    if (!part)
      in.fail(item.Mark(), "`scope`: " + part.error() + "; or `none` alone");
    else if (std::find(scope.begin(), scope.end(), *part) != scope.end())
      in.fail(item.Mark(), "`scope`: " + code(*text) + " stands twice");
    else
      scope.push_back(*part);
  }
}

void read_key(Reader& in, const Entry& entry, Policy& policy) {
  const auto text = in.text(entry, true);
  if (!text) return;
  policy.identity.key = nullptr;
  if (*text == "fingerprint") return;
  auto parsed = parse_key_template(*text);
  if (!parsed) {
    const auto meant = text->find("${") == text->npos ? meant_part(*text) : std::nullopt;
    return in.fail(entry.value.Mark(),
                   "`key`: " + parsed.error() +
                       (meant ? "; did you mean " + code("${" + *meant + "}") + "?" : ""));
  }
  policy.identity.key = std::make_shared<const KeyTemplate>(std::move(*parsed));
}

void read_label(Reader& in, const Entry& entry, Policy& policy) {
  const auto text = in.text(entry, true);
  if (!text) return;
  auto parsed = parse_label_template(*text);
  if (!parsed) return in.fail(entry.value.Mark(), "`label`: " + parsed.error());
  policy.identity.label = std::make_shared<const KeyTemplate>(std::move(*parsed));
}

Settings<Policy> make_policy_settings() {
  const auto headers = [](Policy & p) -> auto& { return p.identity.headers; };
  const auto credentials = [](Policy & p) -> auto& { return p.identity.credential_headers; };
  const auto ignore = [](Policy & p) -> auto& { return p.identity.ignore; };
  const auto idempotency = [](Policy & p) -> auto& { return p.identity.idempotency_key; };
  const auto exact = [](Policy & p) -> auto& { return p.identity.exact_floats; };
  using Mode = IdempotencyKeyMode;
  return {
      count<Policy>("max", &Policy::max, {1, 1'000'000},
                    "executions per key that may have had an effect"),
      lasting<Policy>("ttl", &Policy::ttl, long_time,
                      "how long a record answers repeats, from its latest completion"),
      word<Policy, OnDuplicate Policy::*, OnDuplicate>(
          "on_duplicate", &Policy::on_duplicate,
          {{"replay", OnDuplicate::replay}, {"block", OnDuplicate::block}},
          "what a repeat of a completed call gets: the first answer, or a 409"),
      word<Policy, OnInFlight Policy::*, OnInFlight>(
          "on_in_flight", &Policy::on_in_flight,
          {{"wait", OnInFlight::wait}, {"refuse", OnInFlight::refuse}},
          "what a repeat of a running call does: share its outcome, or get a 409"),
      duration<Policy>("wait", &Policy::wait, any_time,
                       "how long such a repeat waits before its 409"),
      word<Policy, std::optional<InDoubt> Policy::*, std::optional<InDoubt>>(
          "in_doubt", &Policy::in_doubt, {{"hold", InDoubt::hold}, {"retry", InDoubt::retry}},
          "what a repeat of a call does whose effect is unknown: be refused, or send it again "
          "under "
          "the same upstream key",
          "retry with an upstream_key, else hold"),
      lasting<Policy>("in_doubt_ttl", &Policy::in_doubt_ttl, long_time,
                      "how long a record in doubt stays before its key is free again"),
      {{"outcomes", "map", "see below", "which statuses mean that the call happened, or did not"},
       read_outcomes},
      duration<Policy>("timeout", &Policy::timeout, some_time,
                       "from the sending of a call to the end of the upstream's answer"),
      value<Policy>({"upstream_key", "a header name, body:/name or form:name", "none",
                     "by what the upstream deduplicates; Ledger sets it"},
                    &Policy::upstream_key, parse_upstream_key),
      duration<Policy>("upstream_key_ttl", &Policy::upstream_key_ttl, long_time,
                       "how long the upstream remembers that key; in doubt holds after that"),
      list<Policy>({"ignore", "list of body:/json/pointer, form:name, query:name", "none",
                    "fields that vary between a call and its retry"},
                   ignore,
                   [](std::string_view text) {
                     return parse_ignore(text).map_error([&](const std::string& why) {
                       return why + did_you_mean_part(text, " body form query ");
                     });
                   }),
      {{"key",
        "fingerprint, or a template of ${header:X} ${body:/p} ${form:n} ${query:n} ${path:n}",
        "fingerprint", "what identifies the effect"},
       read_key},
      {{"label", "a template of text, ${header:X} ${body:/p} ${form:n} ${query:n} ${path:n}",
        "none",
        "what people see of a call, wherever its record is shown; a part that the call lacks "
        "reads `-`"},
       read_label},
      {{"scope", "none, or a list of credential, agent, run", "credential",
        "whose calls can be the same"},
       read_scope},
      list<Policy>({"headers", "list of header names", "none",
                    "headers that are part of the call, beside those that always are"},
                   headers, parse_header_name),
      list<Policy>({"credential_headers", "list of header names", "none",
                    "headers that are credentials, beside those that always are"},
                   credentials, parse_header_name),
      word<Policy, decltype(idempotency), Mode>(
          "idempotency_key", idempotency,
          {{"auto", Mode::automatic}, {"honour", Mode::honour}, {"ignore", Mode::ignore}},
          "is the client's Idempotency-Key the key: unless an SDK made it up, always, never"),
      word<Policy, decltype(exact), bool>("float_digits", exact, {{"8", false}, {"exact", true}},
                                          "digits to which JSON fractions are compared"),
      word<Policy, bool Policy::*, bool>(
          "reads", &Policy::reads_pass, {{"pass", true}, {"once", false}},
          "OAuth token requests and GraphQL queries: let through, or guarded as other calls",
          "pass, unless `policy: once` or `max` is written beside it"),
      {{"probe", "map", "none", "how to ask the upstream whether a call in doubt happened"},
       read_probe},
      count<Policy>(
          "retries", &Policy::retries, {0, 10},
          "how often Ledger tries again to reach an upstream that nothing was sent to yet"),
      size<Policy>("body_max", &Policy::body_max, buffered,
                   "body of a guarded call; a longer one gets a 413"),
      size<Policy>("response_max", &Policy::response_max, buffered,
                   "answer that is recorded; a longer one is delivered, but not replayed"),
  };
}

}  // namespace

Parsed<bool> parse_guarded(std::string_view text) {
  return parse_word<bool>(text, {{"once", true}, {"pass", false}})
      .map_error([&](const std::string& why) { return why + instead_of_policy(text); });
}

const Settings<Policy>& policy_settings() {
  static const auto table = make_policy_settings();
  return table;
}

const Settings<RouteDraft>& route_settings() {
  static const Settings<RouteDraft> table = {
      value<RouteDraft>(
          {"name", "printable ASCII without spaces, up to 128 characters", "the text of `match`",
           "names the route in headers and reports; explicit keys live under it"},
          [](RouteDraft & d) -> auto& { return d.route.name; }, parse_name),
      {{"match", "METHODS [[SCHEME://]HOST[:PORT]]/PATH", "required", "the calls that it takes"},
       [](Reader& in, const Entry& entry, RouteDraft& draft) {
         in.set(entry, draft.route.pattern,
                [&](std::string_view text) -> tl::expected<RoutePattern, std::string> {
                  auto pattern = RoutePattern::parse(text);
                  if (!pattern) return pattern;
                  draft.match = text;
                  for (const auto& method : pattern->methods())
                    if (const auto hint = misspelt_method(method); !hint.empty())
                      return tl::unexpected(code(method) + " is not a method" + hint);
                  return pattern;
                });
       }},
      {{"policy", "once | pass", "once", "guard these calls, or let them through unseen"},
       [](Reader& in, const Entry& entry, RouteDraft& draft) {
         in.set(entry, draft.route.policy.guarded, parse_guarded);
       }},
  };
  return table;
}

const Settings<Mount>& mount_settings() {
  static const Settings<Mount> table = {
      value<Mount>({"upstream", "http or https URL", "required",
                    "where its calls go; their path follows the URL's"},
                   &Mount::upstream, parse_upstream),
      value<Mount>({"upstream_key", "a header name, body:/name or form:name", "none",
                    "for its routes that have none of their own"},
                   &Mount::upstream_key, parse_upstream_key),
      word<Mount, bool Mount::*, bool>("insecure", &Mount::insecure,
                                       {{"true", true}, {"false", false}},
                                       "true: does not verify the upstream's certificate; anyone "
                                       "in between can read and answer"),
  };
  return table;
}

const Settings<Listener>& listener_settings() {
  static const Settings<Listener> table = {
      value<Listener>(
          {"listen", "HOST:PORT", "required", "where to accept calls; port 0: any free one"},
          &Listener::listen, parse_endpoint),
      value<Listener>({"upstream", "http or https URL", "none: a forward proxy, with the mounts",
                       "where all of its calls go"},
                      &Listener::upstream, parse_upstream),
      value<Listener>({"upstream_key", "a header name, body:/name or form:name", "none",
                       "for its routes that have none of their own"},
                      &Listener::upstream_key, parse_upstream_key),
      list<Listener>(
          {"hosts", std::string(host_list), "none", "as `hosts` of the file, here alone"},
          &Listener::hosts, parse_named_host),
  };
  return table;
}

}  // namespace ledger
