// Which route a call takes. Core.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/policy.h"
#include "fingerprint/url.h"

namespace ledger {

// Is `text` a method or header name (RFC 9110 section 5.6.2)?
bool is_token(std::string_view text);

// `METHODS [[SCHEME://]HOST[:PORT]]/PATH`.
//   METHODS  names joined by `|`, or `*`. Methods are case-sensitive (RFC 9110 section 9.1).
//   SCHEME   http or https; left out: both.
//   HOST     may start with `*.` (any depth of sub-domains, not the bare domain); left out: any.
//   PORT     left out: the scheme's default, or any where the scheme is left out too; `*`: any.
//   PATH     `*` one segment, `{name}` one captured segment, a last `**` the rest, none included. A
//            final slash is one more, empty segment, which only `/` itself and `**` match.
// Literal segments are normalised as URLs are (RFC 3986 section 6.2.2).
class RoutePattern {
 public:
  // Error: one sentence that says what is wrong and what is accepted.
  static tl::expected<RoutePattern, std::string> parse(std::string_view text);

  // Captures in the order of the pattern, percent-decoded; nullopt where the call does not match.
  // `url` is the upstream's URL, after mounting. Allocates for captures only.
  std::optional<Captures> match(std::string_view method, const Url& url) const;

  // True only where every call that `later` matches is matched here: `later` can never match after
  // this.
  bool shadows(const RoutePattern& later) const;

  const std::vector<std::string>& methods() const { return methods_; }  // empty: any
  bool names_host() const { return !host_.empty(); }
  const std::string& host() const { return host_; }  // as written, lower case; empty: any
  // Does this pattern name `host` (and port) under https? CONNECT opens only such hosts. Any case;
  // IPv6 with or without brackets.
  bool opens(std::string_view host, std::uint16_t port) const;
  bool opens_any() const;  // is there any such host?
  // Could some URL of this origin match? (path and method apart)
  bool reaches(const Url& origin) const;
  bool captures(std::string_view name) const;

 private:
  struct Segment {
    enum class Kind : std::uint8_t { literal, any, capture, rest } kind;
    std::string text;  // the normalised literal, or the capture's name
  };
  using Failure = tl::unexpected<std::string>;
  std::optional<Failure> read_methods(std::string_view text);
  std::optional<Failure> read_authority(std::string_view scheme, std::string_view authority);
  std::optional<Failure> read_path(std::string_view path);

  bool takes_method(std::string_view method) const;
  bool takes_host(std::string_view host) const;
  bool covers_path(const RoutePattern& later) const;

  std::vector<std::string> methods_;  // empty: any
  std::string scheme_, host_;         // empty: any; host_ may be "*.example.com"
  std::uint16_t port_ = 0;            // 0: any
  std::vector<Segment> segments_;
};

struct Route {
  std::string name;
  RoutePattern pattern;
  Policy policy;
};

// A policy that passes.
Policy unguarded();

// What calls get that no route names: the contract's POST and PATCH once, all else passes.
struct MethodDefaults {
  // Method -> guarded; a method that is not here passes.
  std::vector<std::pair<std::string, bool>> guarded = {{"POST", true}, {"PATCH", true}};
  Policy once;
  Policy pass = unguarded();

  const Policy& of(std::string_view method) const;
};

struct Matched {
  const Route* route;  // null: no route names this call
  const Policy* policy;
  Captures captures;
};

// The first route that matches, else the default of the call's method. Pointers live as long as
// `routes` and the defaults do.
Matched match_route(std::span<const Route> routes, const MethodDefaults& defaults,
                    std::string_view method, const Url& url);

// The headers by which frameworks let a call name another method than its request line does.
bool is_method_override(std::string_view header);

// What a call says of its method: in its request line, and in such headers (empty: nothing).
struct CallMethod {
  std::string_view line, header;
};

// The same for such a call. It is judged as the method that its header names, and where the request
// line's own is guarded and that one is not, as its own: no header takes a call past a guard.
// `unnamed_pass`: whatever no route names passes. Error: a method that is a guarded one but for its
// case, in a sentence.
tl::expected<Matched, std::string> match_call(std::span<const Route> routes,
                                              const MethodDefaults& defaults,
                                              const CallMethod& method, const Url& url,
                                              bool unnamed_pass = false);

}  // namespace ledger
