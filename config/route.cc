#include "config/route.h"

#include <algorithm>

#include "fingerprint/text.h"

namespace ledger {
namespace {

using Failure = tl::unexpected<std::string>;

bool is_token_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool is_capture_name(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !text.empty() && letter(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
}

std::string code(std::string_view text) { return "`" + std::string(text) + "`"; }

// Calls `take` with each segment of "/a/b" ("a", "b"; "/" has one empty segment) until it says no.
template <class Take>
void each_segment(std::string_view path, Take take) {
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  for (;;) {
    const auto slash = path.find('/');
    if (!take(path.substr(0, slash)) || slash == std::string_view::npos) return;
    path.remove_prefix(slash + 1);
  }
}

// "*.example.com" takes a.example.com and a.b.example.com, not example.com.
bool under_wildcard(std::string_view wildcard, std::string_view host) {
  const auto suffix = wildcard.substr(1);
  return host.size() > suffix.size() && host.ends_with(suffix);
}

constexpr std::string_view form = "write `POST https://host/path`, or `POST /path` for any host";

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

tl::expected<RoutePattern, std::string> RoutePattern::parse(std::string_view text) {
  const auto trim = [](std::string_view t) {
    while (!t.empty() && (t.front() == ' ' || t.front() == '\t')) t.remove_prefix(1);
    while (!t.empty() && (t.back() == ' ' || t.back() == '\t')) t.remove_suffix(1);
    return t;
  };
  text = trim(text);
  for (const char c : text)
    if (c != '\t' && (c < ' ' || c > '~'))
      return Failure("a match is printable ASCII; percent-encode other characters (`%C3%A9`)");
  const auto space = text.find_first_of(" \t");
  if (space == std::string_view::npos)
    return Failure(code(text) + " is not a method and a target; " + std::string(form));
  const auto methods = text.substr(0, space);
  auto target = trim(text.substr(space));
  if (target.find_first_of(" \t") != std::string_view::npos)
    return Failure(
        "a match is two words, the methods and a target without spaces; join methods "
        "with `|`, as in `POST|PUT`");

  RoutePattern pattern;
  if (auto failure = pattern.read_methods(methods)) return *failure;
  std::string_view scheme;
  if (const auto at = target.find("://"); at != std::string_view::npos) {
    scheme = target.substr(0, at);
    target.remove_prefix(at + 3);
  }
  const auto slash = target.find('/');
  if (slash == std::string_view::npos)
    return Failure("the path is missing; add `/**` for every path, or `/` for the root alone");
  if (auto failure = pattern.read_authority(scheme, target.substr(0, slash))) return *failure;
  if (auto failure = pattern.read_path(target.substr(slash))) return *failure;
  return pattern;
}

std::optional<RoutePattern::Failure> RoutePattern::read_methods(std::string_view text) {
  if (text == "*") return std::nullopt;
  while (true) {
    const auto bar = text.find('|');
    const auto method = text.substr(0, bar);
    if (!is_token(method) || method == "*")
      return Failure(code(method) +
                     " is not a method; join methods with `|`, or write `*` alone "
                     "for all of them");
    if (!takes_method(method) || methods_.empty()) methods_.emplace_back(method);
    if (bar == std::string_view::npos) return std::nullopt;
    text.remove_prefix(bar + 1);
  }
}

std::optional<RoutePattern::Failure> RoutePattern::read_authority(std::string_view scheme,
                                                                  std::string_view authority) {
  if (authority.empty()) {
    if (scheme.empty()) return std::nullopt;
    return Failure("the host is missing after " + code(std::string(scheme) + "://") + "; " +
                   std::string(form));
  }
  const bool any_port = authority.ends_with(":*");
  if (any_port) authority.remove_suffix(2);
  const bool wildcard = authority.starts_with("*.");
  const auto host = wildcard ? authority.substr(2) : authority;
  if (host.find('*') != std::string_view::npos)
    return Failure(
        "in a host `*` stands only at its start, as in `*.example.com`; leave the host "
        "out to match any");
  // The URL parser knows hosts and ports; the scheme matters only for the default port.
  const auto url =
      parse_url(std::string(scheme.empty() ? "https" : scheme) + "://" + std::string(host) + "/");
  if (!url) return Failure(url.error());
  if (wildcard && url->host.front() == '[')
    return Failure("`*.` needs a domain name after it, as in `*.example.com`");
  if (!scheme.empty()) scheme_ = url->scheme;
  host_ = (wildcard ? "*." : "") + url->host;
  const bool port_given = !host.empty() && host.back() != ']' &&
                          host.rfind(':') != std::string_view::npos &&
                          host.rfind(':') + 1 < host.size();
  port_ = any_port || (scheme.empty() && !port_given) ? std::uint16_t{0} : url->port_number();
  return std::nullopt;
}

std::optional<RoutePattern::Failure> RoutePattern::read_path(std::string_view path) {
  if (path.find_first_of("?#") != std::string_view::npos)
    return Failure("a match has no query and no fragment; it ends with the path");
  const std::string normal = normalise_path(path);
  std::optional<Failure> failure;
  each_segment(normal, [&](std::string_view segment) {
    using Kind = Segment::Kind;
    if (!segments_.empty() && segments_.back().kind == Kind::rest)
      failure = Failure("`**` is the rest of the path, so nothing may follow it");
    else if (segment == "**")
      segments_.push_back({Kind::rest, {}});
    else if (segment == "*")
      segments_.push_back({Kind::any, {}});
    else if (segment.find('*') != std::string_view::npos)
      failure = Failure(code(segment) + ": `*` stands for one whole segment, as in `/users/*`");
    else if (segment.find_first_of("{}") == std::string_view::npos)
      segments_.push_back({Kind::literal, std::string(segment)});
    else if (segment.size() < 2 || segment.front() != '{' || segment.back() != '}' ||
             !is_capture_name(segment.substr(1, segment.size() - 2)))
      failure = Failure(code(segment) +
                        ": a capture is one whole segment and has a name of "
                        "letters, digits, `_` and `-`, as in `/orders/{id}`");
    else if (captures(segment.substr(1, segment.size() - 2)))
      failure = Failure(code(segment) + " is captured twice; give each capture its own name");
    else
      segments_.push_back({Kind::capture, std::string(segment.substr(1, segment.size() - 2))});
    return !failure;
  });
  return failure;
}

bool RoutePattern::takes_method(std::string_view method) const {
  return methods_.empty() || std::find(methods_.begin(), methods_.end(), method) != methods_.end();
}

bool RoutePattern::takes_host(std::string_view host) const {
  if (host_.empty()) return true;
  return host_.front() == '*' ? under_wildcard(host_, host) : host == host_;
}

bool RoutePattern::reaches(const Url& origin) const {
  return (scheme_.empty() || scheme_ == origin.scheme) && takes_host(origin.host) &&
         (port_ == 0 || port_ == origin.port_number());
}

bool RoutePattern::opens_any() const {
  return !host_.empty() && (scheme_.empty() || scheme_ == "https");
}

bool RoutePattern::opens(std::string_view host, std::uint16_t port) const {
  if (!opens_any()) return false;
  std::string lower(host);
  if (lower.find(':') != std::string::npos && lower.front() != '[') lower = "[" + lower + "]";
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return takes_host(lower) && (port_ == 0 || port_ == port);
}

bool RoutePattern::captures(std::string_view name) const {
  return std::any_of(segments_.begin(), segments_.end(), [&](const Segment& s) {
    return s.kind == Segment::Kind::capture && s.text == name;
  });
}

std::optional<Captures> RoutePattern::match(std::string_view method, const Url& url) const {
  if (!takes_method(method) || !reaches(url)) return std::nullopt;
  using Kind = Segment::Kind;
  Captures captured;
  std::size_t next = 0;
  bool matches = true;
  each_segment(url.path, [&](std::string_view segment) {
    if (next == segments_.size()) return matches = false;
    const Segment& want = segments_[next];
    if (want.kind == Kind::rest) return false;
    ++next;
    if (want.kind == Kind::literal) return matches = segment == want.text;
    if (segment.empty()) return matches = false;
    if (want.kind == Kind::capture)
      captured.emplace_back(want.text, percent_decode(segment, false));
    return true;
  });
  if (!matches) return std::nullopt;
  if (next < segments_.size() && segments_[next].kind != Kind::rest) return std::nullopt;
  return captured;
}

bool RoutePattern::covers_path(const RoutePattern& later) const {
  using Kind = Segment::Kind;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i].kind == Kind::rest) return true;
    if (i == later.segments_.size()) return false;
    const Segment& theirs = later.segments_[i];
    if (theirs.kind == Kind::rest) return false;  // it also takes paths that end here
    if (segments_[i].kind == Kind::literal) {
      if (theirs.kind != Kind::literal || theirs.text != segments_[i].text) return false;
    } else if (theirs.kind == Kind::literal && theirs.text.empty()) {
      return false;  // `*` takes no empty segment
    }
  }
  return segments_.size() == later.segments_.size();
}

bool RoutePattern::shadows(const RoutePattern& later) const {
  if (!methods_.empty()) {
    if (later.methods_.empty()) return false;
    for (const auto& method : later.methods_)
      if (!takes_method(method)) return false;
  }
  if (!scheme_.empty() && scheme_ != later.scheme_) return false;
  if (port_ != 0 && port_ != later.port_) return false;
  // A later wildcard lies under this one where its own suffix does: *.a.b under *.b.
  const bool same_host = host_.empty() || host_ == later.host_;
  if (!same_host &&
      (host_.front() != '*' || later.host_.empty() || !under_wildcard(host_, later.host_)))
    return false;
  return covers_path(later);
}

Policy unguarded() {
  Policy policy;
  policy.guarded = false;
  policy.timeout = Duration::zero();
  return policy;
}

const Policy& MethodDefaults::of(std::string_view method) const {
  for (const auto& [name, once_only] : guarded)
    if (name == method) return once_only ? once : pass;
  return pass;
}

Matched match_route(std::span<const Route> routes, const MethodDefaults& defaults,
                    std::string_view method, const Url& url) {
  for (const Route& route : routes)
    if (auto captures = route.pattern.match(method, url))
      return {&route, &route.policy, std::move(*captures)};
  return {nullptr, &defaults.of(method), {}};
}

bool is_method_override(std::string_view header) {
  return same_text(header, "x-http-method-override") || same_text(header, "x-http-method") ||
         same_text(header, "x-method-override");
}

namespace {

// All methods that are `method` in another case and that somebody speaks of.
std::vector<std::string> other_cases(std::span<const Route> routes, const MethodDefaults& defaults,
                                     std::string_view method) {
  std::vector<std::string> others;
  const auto consider = [&](const std::string& other) {
    if (other != method && same_text(other, method)) others.push_back(other);
  };
  consider(upper_text(method));
  for (const auto& [name, once] : defaults.guarded) consider(name);
  for (const auto& route : routes)
    for (const auto& name : route.pattern.methods()) consider(name);
  return others;
}

}  // namespace

tl::expected<Matched, std::string> match_call(std::span<const Route> routes,
                                              const MethodDefaults& defaults,
                                              const CallMethod& method, const Url& url,
                                              bool unnamed_pass) {
  const auto match = [&](std::string_view name) {
    auto matched = match_route(routes, defaults, name, url);
    if (matched.route == nullptr && unnamed_pass) matched.policy = &defaults.pass;
    return matched;
  };
  for (const auto given : {method.line, method.header})
    for (const auto& meant : other_cases(routes, defaults, given))
      if (match(meant).policy->guarded)
        return tl::unexpected("The method `" + std::string(given) + "` is not `" + meant +
                              "`, which is guarded here; nothing was sent. Write `" + meant + "`.");
  auto own = match(method.line);
  if (method.header.empty() || method.header == method.line) return own;
  auto named = match(method.header);
  return own.policy->guarded && !named.policy->guarded ? std::move(own) : std::move(named);
}

}  // namespace ledger
