#include "admin/explain.h"

#include <algorithm>

#include "guard/decide.h"
#include "guard/operate.h"
#include "proxy/body_key.h"

namespace ledger {
namespace {

std::string would(const Decision& decision) {
  if (std::holds_alternative<Execute>(decision)) return "execute";
  if (const auto* replay = std::get_if<Replay>(&decision))
    return replay->in_doubt ? "in-doubt" : "replay";
  if (std::holds_alternative<Wait>(decision)) return "wait";
  if (const auto* refuse = std::get_if<Refuse>(&decision)) return std::string(refuse->problem.slug);
  return "in-doubt";
}

// What a call would get that arrives now.
std::string would(const Found& found, const Policy& policy, const Arrived& event) {
  auto decision = decide(found.record.get(), policy, event, found.now);
  // An owner that is lost: the record would become in doubt first.
  if (auto* commit = std::get_if<Commit>(&decision))
    decision = decide(&commit->next, policy, event, found.now);
  return would(decision);
}

// A body that comes without a Content-Type is taken for what a client would have said of it: JSON
// of an object or a list, else a form, as curl's -d has it. An empty Content-Type stands for a call
// that brings none, which the proxy reads as raw bytes. Returns the header that was assumed.
std::string assume_content_type(ExplainRequest& request) {
  const auto is_type = [](const auto& h) { return iequals(h.first, "Content-Type"); };
  const auto given = std::find_if(request.headers.begin(), request.headers.end(), is_type);
  if (given != request.headers.end()) {
    std::erase_if(request.headers, [&](const auto& h) { return is_type(h) && h.second.empty(); });
    return "";
  }
  if (request.body.empty()) return "";
  const auto first = request.body.find_first_not_of(" \t\r\n");
  const bool structured = first != std::string::npos &&
                          (request.body[first] == '{' || request.body[first] == '[') &&
                          Json::accept(request.body);
  const std::string type = structured ? "application/json" : "application/x-www-form-urlencoded";
  request.headers.emplace_back("Content-Type", type);
  return "Content-Type: " + type;
}

// As Guard::is_record_id() has it.
bool names_record(Store& store, const Identity& identity) {
  const auto id = pasted_id(identity);
  if (!id) return false;
  const auto found = load_now(store, *id);
  return found && found->record && found->record->scope == identity.scope;
}

tl::expected<std::string, std::string> would(Store& store, const Policy& policy, const Call& call,
                                             const Identity& identity) {
  if (call.body.size() > policy.body_max)
    return std::string(problem::body_too_large(policy.body_max).slug);
  Head head;
  head.fields.assign(call.headers.begin(), call.headers.end());
  if (is_in_body(policy.upstream_key) &&
      !with_body_key(policy.upstream_key, head, std::string(call.body), ""))
    return std::string(problem::key_missing("").slug);
  if (names_record(store, identity)) return std::string(problem::key_is_record().slug);
  const auto found = load_now(store, identity.id);
  if (!found) return tl::unexpected(found.error().message);
  Arrived event;
  event.id = identity.id;
  event.identity = &identity;
  event.owner_alive = found->owner_alive;
  return would(*found, policy, event);
}

struct Aimed {
  Url url;
  std::string upstream_key;  // of the mount
  bool proxied = false;      // an absolute URL: by HTTP_PROXY, or in a tunnel
};

// What becomes of the tunnel that the call would come in: opened, blind or refused; "": in none.
std::string_view tunnel_of(const Config& config, const Aimed& aimed) {
  if (!aimed.proxied || aimed.url.scheme != "https") return "";
  if (opens_tunnel(config, aimed.url.host, aimed.url.port_number())) return "opened";
  return config.https.strict ? "refused" : "blind";
}

tl::expected<Aimed, std::string> aim(const Config& config, const std::string& url) {
  if (!url.empty() && url.front() == '/') {
    auto mounted = mount_target(config.mounts, url);
    if (!mounted)
      return tl::unexpected(mounted.error() == NotMounted::climbs_out
                                ? "The dot segments of " + url + " lead out of where it is mounted."
                                : "No mount maps " + url +
                                      ": give an absolute URL, or a path under a mount.");
    return Aimed{std::move(mounted->url), mounted->mount->upstream_key};
  }
  auto parsed = parse_url(url);
  if (!parsed) return tl::unexpected("`" + url + "` is not a URL: " + parsed.error());
  return Aimed{std::move(*parsed), "", true};
}

}  // namespace

tl::expected<Json, std::string> explain(const Config& config, Store& store, ExplainRequest request,
                                        const TunnelCounts* tunnels, bool with_state) {
  if (!is_token(request.method))
    return tl::unexpected("`" + request.method + "` is not a method, such as POST.");
  auto aimed = aim(config, request.url);
  if (!aimed) return tl::unexpected(aimed.error());
  const auto assumed = assume_content_type(request);
  const auto tunnel = tunnel_of(config, *aimed);
  const bool unseen = tunnel == "blind" || tunnel == "refused";
  std::string named;
  for (const auto& [name, value] : request.headers)
    if (is_method_override(name)) named = value;
  const auto call_match =
      match_call(config.routes, config.defaults, {request.method, named}, aimed->url,
                 tunnel == "opened" && !guards_unnamed(config, aimed->url));
  if (!call_match) return tl::unexpected(call_match.error());
  const auto& matched = *call_match;
  auto policy = *matched.policy;
  if (policy.guarded && policy.upstream_key.empty()) use_upstream_key(policy, aimed->upstream_key);

  std::vector<HeaderView> headers;
  for (const auto& [name, value] : request.headers) headers.push_back({name, value});
  const Call call{request.method, &aimed->url, headers,        request.body,
                  request.agent,  request.run, policy.body_max};
  const bool renamed = !named.empty() && named != request.method;
  bool guarded = policy.guarded && (renamed || !is_unguarded_json_rpc(call));
  const std::string route = matched.route != nullptr ? matched.route->name : "";
  const auto canonical = canonical_body(call, policy.identity);
  const auto identity = identify(call, policy.identity, route, matched.captures, store.secret());
  if (!identity && guarded) return tl::unexpected(identity.error().detail);
  if (guarded && !renamed && policy.reads_pass && !identity->explicit_key() && is_read(call))
    guarded = false;

  Json j;
  j["route"] = route.empty() || unseen ? Json(nullptr) : Json(route);
  j["policy"] = guarded && !unseen ? "once" : "pass";
  j["tunnel"] = tunnel.empty() ? Json(nullptr) : Json(tunnel);
  if (tunnels != nullptr) j["blind_tunnels"] = tunnels->of(aimed->url.host).blind;
  j["url"] = aimed->url.to_string();
  j["body_kind"] = canonical.kind;
  j["assumed"] = assumed.empty() ? Json(nullptr) : Json(assumed);
  j["canonical"] = canonical.bytes;
  j["fingerprint"] = identity ? Json(to_hex(identity->fingerprint)) : Json(nullptr);
  j["key"] = guarded ? Json(to_hex(identity->id)) : Json(nullptr);
  j["label"] = guarded && !identity->label.empty() ? Json(identity->label) : Json(nullptr);
  j["key_source"] = guarded ? Json(to_string(identity->source)) : Json(nullptr);
  if (!with_state) return j;
  if (!guarded || unseen) {
    j["would"] = tunnel == "refused" ? "tunnel-not-opened" : unseen ? "blind" : "pass";
    return j;
  }
  auto get = would(store, policy, call, *identity);
  if (!get) return tl::unexpected(get.error());
  j["would"] = std::move(*get);
  return j;
}

}  // namespace ledger
