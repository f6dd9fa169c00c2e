// Which POSTs only read: OAuth token requests and GraphQL queries, and nothing that dresses up as
// one.
#include <doctest/doctest.h>

#include "fingerprint/graphql.h"
#include "fingerprint/identity.h"

using namespace ledger;

namespace {

bool reads(std::string_view type, std::string_view body,
           const std::string& url = "https://h.example/graphql") {
  const auto parsed = *parse_url(url);
  const HeaderView headers[] = {{"Content-Type", type}};
  return is_read(Call{"POST", &parsed, headers, body, "", ""});
}
bool json(std::string_view body) { return reads("application/json", body); }
bool form(std::string_view body) { return reads("application/x-www-form-urlencoded", body); }

bool is_query(std::string_view document, std::string_view name = "") {
  return selected_operation(document, name) == GraphqlOperation::query;
}

}  // namespace

TEST_CASE("an OAuth token request is a form of nothing but OAuth's own fields") {
  CHECK(form("grant_type=client_credentials&client_id=a&client_secret=b&scope=x"));
  CHECK(form("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=x"));
  CHECK(form("code=1&grant_type=authorization_code&redirect_uri=x&code_verifier=y"));
  for (const auto* other :
       {"grant_type=client_credentials&amount=49", "grant_type=charge", "grant_type=", "scope=x",
        "", "grant_type=password&grant_type=refresh_token", "grant_type=password&Username=x",
        "amount=1&note=grant_type"})
    CHECK_FALSE_MESSAGE(form(other), other);
  CHECK_FALSE(json(R"({"grant_type":"client_credentials"})"));
}

TEST_CASE("what a token request says in another place, or to another reader, guards it") {
  CHECK(reads("application/x-www-form-urlencoded", "grant_type=password&scope=a",
              "https://h.example/token?client_id=a"));
  CHECK_FALSE(reads("application/x-www-form-urlencoded", "grant_type=password",
                    "https://h.example/token?amount=9"));
  CHECK_FALSE(form("grant_type=password&scope=x;amount=5"));
  const auto url = *parse_url("https://h.example/charge");
  for (const auto* second : {"application/json", "application/x-www-form-urlencoded"}) {
    const HeaderView headers[] = {{"Content-Type", "application/x-www-form-urlencoded"},
                                  {"content-type", second}};
    CHECK_FALSE(is_read(Call{"POST", &url, headers, "grant_type=password", "", ""}));
  }
}

TEST_CASE("a GraphQL query or subscription reads, a mutation does not") {
  CHECK(json(R"({"query":"{ balance }"})"));
  CHECK(json(
      R"({"query":"query B($a: Int = 1) @live(if: true) { balance(of: $a) }","variables":{"a":1},"operationName":"B","extensions":{}})"));
  CHECK(json(R"({"query":"subscription { ticks }","operationName":null})"));
  CHECK(reads("application/graphql; charset=utf-8", "{ balance }"));
  for (const auto* other :
       {R"({"query":"mutation { pay }"})", R"({"query":"{ a }","amount":49})", R"({"query":7})",
        R"({"query":""})", R"({"operationName":"A"})", R"([{"query":"{ a }"}])",
        R"({"query":"{ a }","query":"mutation { pay }"})",
        R"({"query":"{ a }","operationName":"B"})", R"({"query":"{ a }","operationName":1})",
        R"({"query":"{ a } mutation M { pay }"})", R"({"variables":{"query":"{ a }"}})",
        R"({"query":"query A { a } mutation B { pay }","operationName":"B"})",
        R"({"query":"query A { a } mutation B { pay }"})"})
    CHECK_FALSE_MESSAGE(json(other), other);
  CHECK(json(R"({"query":"query A { a } mutation B { pay }","operationName":"A"})"));
  CHECK_FALSE(reads("application/graphql", "mutation { pay }"));
  for (const auto* object : {R"({"amount":2})", R"({"query":"mutation { pay }"})", "{}", "{ }",
                             R"({"a":{"b":[1]}})", "{ a: 1 }", "{ a [b] }", "{ 7 }"})
    CHECK_FALSE_MESSAGE(reads("application/graphql", object), object);
  CHECK_FALSE(reads("text/plain", "{ balance }"));
}

TEST_CASE("what the URL says of a GraphQL request is not overlooked") {
  for (const auto* query : {"?query=mutation%20%7B%20pay%20%7D", "?operationName=B",
                            "?a=1&%71uery=x", "?variables={}", "?id=1"})
    CHECK_FALSE_MESSAGE(reads("application/json", R"({"query":"{ a }"})",
                              std::string("https://h.example/graphql") + query),
                        query);
  CHECK(reads("application/json", R"({"query":"{ a }"})", "https://h.example/graphql?op=Balance"));
}

TEST_CASE(
    "an operation is found whatever stands around it, and not where it could be read in two ways") {
  for (const auto* query :
       {"{ a }", "\xef\xbb\xbf query{a}", "# mutation { pay }\n{ a }",
        "query A { a(x: \"} mutation { pay }\") }",
        "query A { a(x: \"\"\"} \\\"\"\" mutation { pay }\"\"\") }",
        "fragment F on T { a } query A { ...F }", "query A($x: [I!]! = [{a: 1}]) { a }",
        ",,query,A,{a},", "{ a(x: -1.5e3) }", "query mutation { a }",
        "{ x: a(o: {}, l: []) @skip(if: $b) { ... on T { b } ...F ... @include(if: true) { c } } "
        "}"})
    CHECK_MESSAGE(is_query(query), query);
  for (const auto* none : {"",
                           "query",
                           "query A",
                           "{ a",
                           "a }",
                           "{ a ) }",
                           "mutation",
                           "query A { a } query A { b }",
                           "{ a } { b }",
                           "type Query { a: Int }",
                           "extend type Q { a: Int }",
                           "# \xe2\x80\xa8 mutation { pay }\n{ a }",
                           "# \x0c mutation { pay }\n{ a }",
                           "{ a(x: \"\n\") }",
                           "{ a(x: \"\"\") }",
                           "query A { a } junk",
                           "query (",
                           "{ a; b }",
                           "query A \xc2\xa0{ a }",
                           "\xef\xbb\xbf\xef\xbb\xbf{ a }",
                           "fragment on on T { a } { b }",
                           "query A @{ a }"})
    CHECK_FALSE_MESSAGE(selected_operation(none, "").has_value(), none);
  CHECK_FALSE(selected_operation(std::string(10'000, '{'), ""));
  CHECK(selected_operation("query A { a } mutation B { b }", "B") == GraphqlOperation::mutation);
  CHECK_FALSE(selected_operation("query A { a } mutation B { b }", "C"));
  CHECK_FALSE(selected_operation("{ a } mutation B { b }", "B"));
}
