// POSTs that only read, and whose answers must not be kept: OAuth token requests, GraphQL queries.
#include <algorithm>
#include <array>

#include "fingerprint/body.h"
#include "fingerprint/graphql.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

template <std::size_t n>
bool is_one_of(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// --- OAuth: a form of nothing but its own fields -------------------------------------------------

// RFC 6749, 7522, 7523, 8628, 8693; OpenID CIBA Core 1.0.
constexpr std::array<std::string_view, 9> grant_types = {
    "authorization_code",
    "client_credentials",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:openid:params:grant-type:ciba"};
// The parameters of token requests in the same, and in RFC 7521, 7636, 8707 (`audience`: 8693).
constexpr std::array<std::string_view, 22> oauth_fields = {"grant_type",
                                                           "client_id",
                                                           "client_secret",
                                                           "client_assertion",
                                                           "scope",
                                                           "client_assertion_type",
                                                           "code",
                                                           "redirect_uri",
                                                           "code_verifier",
                                                           "refresh_token",
                                                           "username",
                                                           "password",
                                                           "assertion",
                                                           "device_code",
                                                           "resource",
                                                           "audience",
                                                           "subject_token",
                                                           "subject_token_type",
                                                           "requested_token_type",
                                                           "actor_token",
                                                           "actor_token_type",
                                                           "auth_req_id"};

bool is_token_request(const Body& body, const Url& url) {
  // Some servers still end a field with a semicolon, and some take fields from the URL.
  if (body.bytes().find(';') != std::string_view::npos) return false;
  for (const auto& [name, value] : parse_pairs(url.query))
    if (!is_one_of(name, oauth_fields)) return false;
  std::size_t grants = 0;
  for (const auto& [name, value] : body.form()) {
    if (!is_one_of(name, oauth_fields)) return false;
    if (name == "grant_type" && (++grants > 1 || !is_one_of(value, grant_types))) return false;
  }
  return grants == 1;
}

// --- GraphQL -------------------------------------------------------------------------------------

constexpr std::array<std::string_view, 4> graphql_members = {"query", "variables", "operationName",
                                                             "extensions"};

// Servers take the same parameters from the URL, some before those of the body.
bool url_has_graphql(const Url& url) {
  const auto pairs = parse_pairs(url.query);
  return std::any_of(pairs.begin(), pairs.end(), [](const auto& pair) {
    return is_one_of(pair.first, graphql_members) || pair.first == "id";
  });
}

bool reads(std::string_view document, std::string_view name) {
  const auto operation = selected_operation(document, name);
  return operation && *operation != GraphqlOperation::mutation;
}

bool is_graphql_read(const JsonDocument& document) {
  using Kind = JsonNode::Kind;
  const auto& root = *document.root();
  if (root.kind != Kind::object) return false;
  for (const auto* member = document.first_child(root); member; member = document.next(*member))
    if (!is_one_of(member->key, graphql_members)) return false;
  const auto* query = document.member(root, "query");
  const auto* name = document.member(root, "operationName");
  if (query == nullptr || query->kind != Kind::string) return false;
  if (name == nullptr || name->kind == Kind::null) return reads(query->text, "");
  return name->kind == Kind::string && reads(query->text, name->text);
}

auto count_of(const Call& call, std::string_view name) {
  return std::count_if(call.headers.begin(), call.headers.end(),
                       [&](const HeaderView& h) { return same_text(h.name, name); });
}

// Most bodies are neither, and need not be read to see it.
bool may_be_read(const Call& call, std::string_view type) {
  if (find_header(call, "Content-Encoding")) return true;
  if (has_json_type(call)) return call.body.find("\"query\"") != call.body.npos;
  return same_text(type, "application/graphql") || call.body.find("grant_type") != call.body.npos;
}

}  // namespace

bool is_read(const Call& call) {
  // Of two the destination may believe the other one.
  if (call.method != "POST" || count_of(call, "Content-Type") > 1 ||
      count_of(call, "Content-Encoding") > 1)
    return false;
  const auto content_type = find_header(call, "Content-Type").value_or("");
  const auto type = trim_text(content_type.substr(0, content_type.find(';')));
  if (!may_be_read(call, type)) return false;
  const Body body(call);
  if (body.kind() == "form") return is_token_request(body, *call.url);
  if (url_has_graphql(*call.url)) return false;
  if (const auto* document = body.json()) return is_graphql_read(*document);
  return same_text(type, "application/graphql") && reads(body.bytes(), "");
}

}  // namespace ledger
