// Patterns, shadowing, policies: the core half of config/.
#include <doctest/doctest.h>

#include <random>

#include "config/route.h"

using namespace ledger;

namespace {

RoutePattern pattern(std::string_view text) {
  auto parsed = RoutePattern::parse(text);
  REQUIRE_MESSAGE(parsed.has_value(), text, ": ", parsed.has_value() ? "" : parsed.error());
  return *parsed;
}

std::string error(std::string_view text) {
  auto parsed = RoutePattern::parse(text);
  REQUIRE_MESSAGE(!parsed.has_value(), text);
  return parsed.error();
}

bool matches(std::string_view text, std::string_view method, std::string_view url) {
  return pattern(text).match(method, *parse_url(url)).has_value();
}

bool shadows(std::string_view earlier, std::string_view later) {
  return pattern(earlier).shadows(pattern(later));
}

}  // namespace

TEST_CASE("a pattern matches its methods and no others") {
  CHECK(matches("POST https://a.com/x", "POST", "https://a.com/x"));
  CHECK_FALSE(matches("POST https://a.com/x", "GET", "https://a.com/x"));
  CHECK_FALSE(matches("POST https://a.com/x", "post", "https://a.com/x"));
  CHECK(matches("POST|PUT|PURGE /x", "PURGE", "https://a.com/x"));
  CHECK_FALSE(matches("POST|PUT /x", "PATCH", "https://a.com/x"));
  CHECK(matches("* /x", "ANYTHING", "https://a.com/x"));
}

TEST_CASE("scheme, host and port bind only where they are given") {
  CHECK(matches("POST /x", "POST", "http://any.host:1234/x"));
  CHECK(matches("POST a.com/x", "POST", "http://a.com:1234/x"));
  CHECK(matches("POST a.com:1234/x", "POST", "https://a.com:1234/x"));
  CHECK_FALSE(matches("POST a.com:1234/x", "POST", "https://a.com/x"));
  CHECK_FALSE(matches("POST https://a.com/x", "POST", "http://a.com/x"));
  CHECK_FALSE(matches("POST https://a.com/x", "POST", "https://a.com:8443/x"));
  CHECK(matches("POST https://a.com:443/x", "POST", "https://a.com/x"));
  CHECK(matches("POST http://127.0.0.1:*/x", "POST", "http://127.0.0.1:40213/x"));
  CHECK(matches("POST HTTPS://A.com/x", "POST", "https://a.COM/x"));
  CHECK(matches("POST http://[::1]:8080/x", "POST", "http://[::1]:8080/x"));
}

TEST_CASE("a host wildcard takes sub-domains of any depth, never the bare domain") {
  CHECK(matches("POST https://*.example.com/x", "POST", "https://a.example.com/x"));
  CHECK(matches("POST https://*.example.com/x", "POST", "https://a.b.example.com/x"));
  CHECK_FALSE(matches("POST https://*.example.com/x", "POST", "https://example.com/x"));
  CHECK_FALSE(matches("POST https://*.example.com/x", "POST", "https://evilexample.com/x"));
}

TEST_CASE("`*` and captures take one segment that is not empty, `**` takes the rest and nothing") {
  CHECK(matches("* /a/*/c", "GET", "http://h/a/b/c"));
  CHECK_FALSE(matches("* /a/*/c", "GET", "http://h/a/b/b/c"));
  CHECK_FALSE(matches("* /a/*", "GET", "http://h/a"));
  CHECK_FALSE(matches("* /a/*", "GET", "http://h/a/"));
  for (const auto* url : {"http://h/a", "http://h/a/", "http://h/a/b", "http://h/a/b/c/"})
    CHECK(matches("* /a/**", "GET", url));
  CHECK_FALSE(matches("* /a/**", "GET", "http://h/ab"));
  CHECK(matches("* /**", "GET", "http://h/"));
  CHECK(matches("* /", "GET", "http://h"));
  CHECK_FALSE(matches("* /", "GET", "http://h/a"));
}

TEST_CASE("a final slash is a segment of its own") {
  CHECK_FALSE(matches("* /a", "GET", "http://h/a/"));
  CHECK_FALSE(matches("* /a/", "GET", "http://h/a"));
  CHECK(matches("* /a/", "GET", "http://h/a/"));
}

TEST_CASE("paths are compared normalised, and an encoded slash divides nothing") {
  CHECK(matches("* /a%7eb", "GET", "http://h/a~b"));
  CHECK(matches("* /a~b", "GET", "http://h/a%7Eb"));
  CHECK(matches("* /x/../b", "GET", "http://h/b"));
  CHECK_FALSE(matches("* /a/*", "GET", "http://h/a/b/c"));
  CHECK(matches("* /a/*", "GET", "http://h/a/b%2Fc"));
  CHECK(matches("* /a", "GET", "http://h/a?b/c"));
}

TEST_CASE("captures come decoded and in order") {
  const auto captures = pattern("POST /{sid}/Accounts/{to-do}")
                            .match("POST", *parse_url("http://h/2010/Accounts/a%2Fb"));
  REQUIRE(captures.has_value());
  CHECK(*captures == Captures{{"sid", "2010"}, {"to-do", "a/b"}});
  CHECK(pattern("POST /{sid}").captures("sid"));
  CHECK_FALSE(pattern("POST /{sid}").captures("id"));
}

TEST_CASE("a bad pattern says what is wrong with it") {
  CHECK(error("POST").find("not a method and a target") != std::string::npos);
  CHECK(error("").find("not a method and a target") != std::string::npos);
  CHECK(error("POST,PUT /x").find("not a method") != std::string::npos);
  CHECK(error("POST| /x").find("not a method") != std::string::npos);
  CHECK(error("POST|* /x").find("`*` alone") != std::string::npos);
  CHECK(error("POST PUT /x").find("two words") != std::string::npos);
  CHECK(error("POST https://a.com").find("the path is missing") != std::string::npos);
  CHECK(error("POST https:///x").find("host is missing") != std::string::npos);
  CHECK(error("POST https://*/x").find("leave the host out") != std::string::npos);
  CHECK(error("POST https://a.*.com/x").find("only at its start") != std::string::npos);
  CHECK(error("POST ftp://a.com/x").find("ftp") != std::string::npos);
  CHECK_FALSE(error("POST https://me@a.com/x").empty());
  CHECK_FALSE(error("POST https://a.com:99999/x").empty());
  CHECK_FALSE(error("POST https://*.[::1]/x").empty());
  CHECK(error("POST /x?y").find("no query") != std::string::npos);
  CHECK(error("POST /**/x").find("nothing may follow") != std::string::npos);
  CHECK(error("POST /a*").find("whole segment") != std::string::npos);
  CHECK(error("POST /{a}b").find("whole segment") != std::string::npos);
  CHECK(error("POST /{}").find("whole segment") != std::string::npos);
  CHECK(error("POST /{1}").find("whole segment") != std::string::npos);
  CHECK(error("POST /{a}/{a}").find("captured twice") != std::string::npos);
  CHECK(error("POST /caf\xc3\xa9").find("percent-encode") != std::string::npos);
}

TEST_CASE("CONNECT opens exactly the hosts that some https call of the pattern could have") {
  CHECK(pattern("POST https://a.com/x").opens("A.com", 443));
  CHECK_FALSE(pattern("POST https://a.com/x").opens("a.com", 8443));
  CHECK(pattern("POST https://a.com:8443/x").opens("a.com", 8443));
  CHECK(pattern("POST a.com/x").opens("a.com", 8443));
  CHECK(pattern("POST https://*.a.com/x").opens("b.a.com", 443));
  CHECK_FALSE(pattern("POST https://*.a.com/x").opens("a.com", 443));
  CHECK_FALSE(pattern("POST http://a.com/x").opens("a.com", 80));
  CHECK_FALSE(pattern("POST http://a.com/x").opens("a.com", 443));
  CHECK_FALSE(pattern("POST /x").opens("a.com", 443));
  CHECK(pattern("POST https://[::1]/x").opens("::1", 443));
  CHECK(pattern("POST https://[::1]/x").opens("[::1]", 443));
}

TEST_CASE("a pattern shadows what it wholly covers") {
  CHECK(shadows("POST https://a.com/x", "POST https://a.com/x"));
  CHECK(shadows("* /**", "POST https://a.com/x"));
  CHECK(shadows("POST|PUT /x", "PUT|POST a.com/x"));
  CHECK(shadows("POST a.com/x", "POST https://a.com/x"));
  CHECK(shadows("POST https://a.com/**", "POST https://a.com/v1/**"));
  CHECK(shadows("POST https://a.com/v1/**", "POST https://a.com/v1"));
  CHECK(shadows("POST /a/*", "POST /a/{id}"));
  CHECK(shadows("POST /a/{id}", "POST /a/b"));
  CHECK(shadows("POST https://*.a.com/x", "POST https://b.a.com/x"));
  CHECK(shadows("POST https://*.a.com/x", "POST https://*.b.a.com/x"));
  CHECK(shadows("POST https://*.a.com/x", "POST https://*.a.com/x"));
}

TEST_CASE("a pattern does not shadow what it covers only in part") {
  CHECK_FALSE(shadows("POST /x", "* /x"));
  CHECK_FALSE(shadows("POST /x", "POST|PUT /x"));
  CHECK_FALSE(shadows("POST https://a.com/x", "POST a.com/x"));
  CHECK_FALSE(shadows("POST https://a.com/x", "POST https://a.com:8443/x"));
  CHECK_FALSE(shadows("POST https://a.com/x", "POST /x"));
  CHECK_FALSE(shadows("POST https://*.a.com/x", "POST https://a.com/x"));
  CHECK_FALSE(shadows("POST https://b.a.com/x", "POST https://*.a.com/x"));
  CHECK_FALSE(shadows("POST /a/*", "POST /a/**"));
  CHECK_FALSE(shadows("POST /a/*", "POST /a/"));
  CHECK_FALSE(shadows("POST /a/b", "POST /a/*"));
  CHECK_FALSE(shadows("POST /a/*/c", "POST /a/b"));
}

TEST_CASE("shadowing is sound: what the later pattern matches, the earlier one matches too") {
  std::mt19937 random(20240607);
  const auto pick = [&](std::initializer_list<const char*> of) {
    return std::string(of.begin()[random() % of.size()]);
  };
  const auto path = [&](bool wild) {
    std::string text;
    const auto depth = random() % 4;
    for (std::size_t i = 0; i < depth; ++i)
      text += "/" + (wild ? pick({"a", "b", "*", "*", ""}) : pick({"a", "b", "c", ""}));
    if (wild && random() % 3 == 0) text += "/**";
    return text.empty() ? std::string("/") : text;
  };
  const auto host = [&](bool wild) {
    return wild ? pick({"", "a.com", "https://a.com", "http://*.a.com", "*.a.com", "*.b.a.com",
                        "https://b.a.com:*", "a.com:443", "https://a.com:8443"})
                : pick({"https://a.com", "http://a.com", "https://b.a.com", "http://c.b.a.com",
                        "https://a.com:8443", "http://b.a.com:443"});
  };
  int hidden = 0, taken = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto one = pick({"POST", "*", "POST|PUT"}) + " " + host(true) + path(true);
    const auto two = pick({"POST", "*", "PUT"}) + " " + host(true) + path(true);
    if (!shadows(one, two)) continue;
    ++hidden;
    for (int call = 0; call < 40; ++call) {
      const auto method = pick({"POST", "PUT", "GET"});
      const auto url = *parse_url(host(false) + path(false));
      if (!pattern(two).match(method, url)) continue;
      ++taken;
      CAPTURE(one);
      CAPTURE(two);
      CHECK(pattern(one).match(method, url));
    }
  }
  CHECK(hidden > 100);
  CHECK(taken > 100);
}

TEST_CASE("the first route that matches wins; without one the method decides") {
  std::vector<Route> routes;
  routes.push_back({"one", pattern("POST /a/{id}"), {}});
  routes.push_back({"two", pattern("* /a/*"), {}});
  MethodDefaults defaults;
  const auto url = *parse_url("http://h/a/b");
  const auto first = match_route(routes, defaults, "POST", url);
  REQUIRE(first.route == &routes[0]);
  CHECK(first.policy == &routes[0].policy);
  CHECK(first.captures == Captures{{"id", "b"}});
  CHECK(match_route(routes, defaults, "GET", url).route == &routes[1]);

  const auto other = *parse_url("http://h/b");
  CHECK(match_route(routes, defaults, "POST", other).route == nullptr);
  CHECK(match_route(routes, defaults, "POST", other).policy->guarded);
  CHECK(match_route(routes, defaults, "PATCH", other).policy->guarded);
  for (const auto* method : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post", "PURGE"})
    CHECK_FALSE(match_route(routes, defaults, method, other).policy->guarded);
}

TEST_CASE("statuses mean what the contract says where nothing else was configured") {
  const Outcomes outcomes;
  for (const int status : {200, 201, 204, 301, 304})
    CHECK(outcomes.of(status, false, false) == Verdict::completed);
  for (const int status : {400, 404, 409, 422, 429})
    CHECK(outcomes.of(status, false, false) == Verdict::released);
  for (const int status : {408, 500, 502, 503, 504})
    CHECK(outcomes.of(status, false, false) == Verdict::in_doubt);
  CHECK(outcomes.of(503, true, false) == Verdict::released);
  CHECK(outcomes.of(503, true, true) == Verdict::released);
  CHECK(outcomes.of(500, true, false) == Verdict::in_doubt);
  CHECK(outcomes.of(408, true, false) == Verdict::in_doubt);
  CHECK(outcomes.of(409, false, true) == Verdict::in_doubt);
  for (const int status : {0, 101, 199, 600, 999, -1})
    CHECK(outcomes.of(status, false, false) == Verdict::in_doubt);
}

TEST_CASE("a single status beats its class, and only its own name changes 408, 409 and 503") {
  Outcomes outcomes;
  outcomes.set_class(4, Verdict::completed);
  outcomes.set_class(5, Verdict::completed);
  CHECK(outcomes.of(404, false, false) == Verdict::completed);
  CHECK(outcomes.of(408, false, false) == Verdict::in_doubt);
  CHECK(outcomes.of(409, false, true) == Verdict::in_doubt);
  CHECK(outcomes.of(503, true, false) == Verdict::released);
  CHECK(outcomes.of(503, false, false) == Verdict::completed);
  outcomes.set_status(408, Verdict::released);
  outcomes.set_status(409, Verdict::released);
  outcomes.set_status(503, Verdict::in_doubt);
  CHECK(outcomes.of(408, false, false) == Verdict::released);
  CHECK(outcomes.of(409, false, true) == Verdict::released);
  CHECK(outcomes.of(503, true, false) == Verdict::in_doubt);
}

TEST_CASE("a call in doubt is sent again only under an upstream key") {
  Policy policy;
  CHECK(policy.when_in_doubt() == InDoubt::hold);
  policy.in_doubt = InDoubt::retry;
  CHECK(policy.when_in_doubt() == InDoubt::hold);
  policy.upstream_key = "Idempotency-Key";
  CHECK(policy.when_in_doubt() == InDoubt::retry);
  policy.in_doubt.reset();
  CHECK(policy.when_in_doubt() == InDoubt::retry);
  policy.in_doubt = InDoubt::hold;
  CHECK(policy.when_in_doubt() == InDoubt::hold);
}

TEST_CASE("a header that names a method is judged, and takes no call past a guard") {
  MethodDefaults defaults;
  std::vector<Route> routes;
  const auto add = [&](std::string name, std::string_view match, bool guarded) {
    routes.push_back({std::move(name), pattern(match), guarded ? Policy() : unguarded()});
  };
  add("reads", "GET /v1/**", false);
  add("charge", "POST /v1/**", true);
  add("gone", "DELETE|Frob /v1/**", true);
  add("all", "* /all/**", true);
  const auto url = *parse_url("http://h/v1/x"), all = *parse_url("http://h/all/x"),
             other = *parse_url("http://h/x");
  const auto route = [&](std::string_view method, std::string_view named,
                         const Url& to) -> std::string {
    const auto found = match_call(routes, defaults, {method, named}, to);
    if (!found) return "error";
    return (found->route ? found->route->name : "none") +
           (found->policy->guarded ? " once" : " pass");
  };
  CHECK(route("GET", "", url) == "reads pass");
  CHECK(route("GET", "GET", url) == "reads pass");
  CHECK(route("GET", "POST", url) == "charge once");
  CHECK(route("POST", "GET", url) == "charge once");
  CHECK(route("POST", "DELETE", url) == "gone once");
  CHECK(route("PUT", "PATCH", other) == "none once");
  CHECK(route("PATCH", "PUT", other) == "none once");
  CHECK(route("PUT", "HEAD", other) == "none pass");
  // A guarded one but for its case.
  for (const auto* method : {"post", "Post", "patch"}) {
    CHECK(route(method, "", other) == "error");
    CHECK(route("GET", method, other) == "error");
  }
  CHECK(route("delete", "", url) == "error");
  CHECK(route("delete", "", other) == "none pass");
  CHECK(route("Frob", "", url) == "gone once");
  CHECK(route("FROB", "", url) == "error");
  CHECK(route("frob", "", url) == "error");
  CHECK(route("get", "", all) == "error");
  CHECK(route("get", "", other) == "none pass");
}
