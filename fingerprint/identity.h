// What makes two calls the same: fingerprint, scope, key and record id. Pure: no I/O, no clock.
// docs/fingerprint.md specifies the bytes with test vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "fingerprint/digest.h"
#include "fingerprint/json.h"
#include "fingerprint/url.h"

namespace ledger {

struct HeaderView {
  std::string_view name, value;  // as received; value without surrounding white space
};

// A path segment captured by a route's {name}: name, value (percent-decoded).
using Captures = std::vector<std::pair<std::string, std::string>>;

// One call as identity sees it. Views: the caller keeps the bytes alive.
struct Call {
  std::string_view method;              // as received; methods are case-sensitive
  const Url* url = nullptr;             // the upstream's URL, after mounting
  std::span<const HeaderView> headers;  // end-to-end and hop-by-hop alike
  std::string_view body;                // de-chunked; Content-Encoding still on
  std::string_view agent, run;          // who calls; empty = unnamed
  // The policy's: a compressed body that holds more is identified by its bytes as they came.
  std::size_t body_max = std::size_t{1} << 20;
};

enum class ScopePart : std::uint8_t { credential, agent, run };  // `none` is an empty list

// A field that varies between a call and its retry: body:/json/pointer, form:name, query:name.
struct IgnoreRule {
  enum class Where : std::uint8_t { body, form, query } where = Where::body;
  std::string name;     // form, query: the decoded name
  JsonPattern pattern;  // body
};
// Error: one sentence that says what is wrong and what is accepted.
tl::expected<IgnoreRule, std::string> parse_ignore(std::string_view text);

// A key template: literal text and ${header:X} ${body:/p} ${form:n} ${query:n} ${path:name}.
struct KeyTemplate {
  struct Part {
    enum class Kind : std::uint8_t { literal, header, body, form, query, path } kind;
    std::string text;  // the literal, the header's/field's/segment's name, or the JSON pointer
  };
  std::vector<Part> parts;
};
tl::expected<KeyTemplate, std::string> parse_key_template(std::string_view text);
// The same form for what people see of a call. It may stand without a part; one that the call lacks
// reads `-`.
tl::expected<KeyTemplate, std::string> parse_label_template(std::string_view text);
// Bytes that a record keeps of a label, and of an explicit key's text.
constexpr std::size_t label_max = 200, key_text_max = 1000;

enum class IdempotencyKeyMode : std::uint8_t { automatic, honour, ignore };

// The identity part of a route's policy. Defaults are the contract's.
struct IdentityRules {
  std::vector<std::string> headers;             // extra headers that are part of the call
  std::vector<std::string> credential_headers;  // extra headers that are credentials
  std::vector<ScopePart> scope = {ScopePart::credential};
  std::vector<IgnoreRule> ignore;
  bool exact_floats = false;               // float_digits: exact
  std::shared_ptr<const KeyTemplate> key;  // null: the fingerprint is the key
  IdempotencyKeyMode idempotency_key = IdempotencyKeyMode::automatic;
  // No identity: what people see of a call. It stands here since the body is read here, once.
  std::shared_ptr<const KeyTemplate> label;  // null: none
};

enum class KeySource : std::uint8_t { fingerprint, route, header, idempotency_key };
// "fingerprint", "route", "header", "idempotency-key".
std::string_view to_string(KeySource source);
std::optional<KeySource> key_source_from(std::string_view text);

// A URL template as it reads for `call`, the values percent-encoded. nullopt: the call lacks a
// part, or a value would climb the path.
std::optional<std::string> fill_url_template(const KeyTemplate& url, const Call& call,
                                             const IdentityRules& rules, const Captures& captures);

// Does a header of this name carry a credential?
bool is_credential(std::string_view name, const IdentityRules& rules);

struct Identity {
  Digest id;           // names the record: of the key, its place and scope, and the occurrence
  Digest fingerprint;  // what the call means
  KeySource source = KeySource::fingerprint;
  std::string key;          // the explicit key's text; empty where the fingerprint is the key
  std::uint64_t scope = 0;  // names the scope: equal for the same parts of the same values
  std::string label;        // as shown: see label_max; empty where the rules have none
  bool explicit_key() const { return source != KeySource::fingerprint; }
};

// The id that a Ledger-Key spells, if it looks like a record's.
std::optional<Digest> pasted_id(const Identity& identity);

struct IdentityError {
  std::string slug;    // "key-missing" or "bad-request" (urn:ledger:<slug>)
  std::string detail;  // one sentence: what is missing or malformed, and what to do
};

// Where an explicit key lives: its route, or, for a call that no route names, the call's method,
// scheme, host and path (pass an empty route).
//
// `secret` keys the HMAC of credentials: one per store. Thread-safe. Headers that are no identity
// cost no allocation; the body is read once and hashed once.
// Errors: a key template part that the call lacks; an empty Ledger-Key; a Ledger-Occurrence that is
// not a whole number from 1 to 1,000,000.
tl::expected<Identity, IdentityError> identify(const Call& call, const IdentityRules& rules,
                                               std::string_view route, const Captures& captures,
                                               std::string_view secret);

// For `ledger explain`: the canonical text that is hashed as the body, and its kind
// ("json", "form", "multipart", "raw", "empty").
struct CanonicalBody {
  std::string_view kind;
  std::string bytes;
};
CanonicalBody canonical_body(const Call& call, const IdentityRules& rules);

// Is this `Idempotency-Key` one that an SDK made up for this attempt (a UUID, or an SDK's prefix
// and a UUID)? Such a value is not identity.
bool is_generated_key(std::string_view value);

// Is this POST one that only reads, and whose answer must not be kept: an OAuth token request (a form
// of nothing but OAuth's own fields), or a GraphQL request whose selected operation is a query or a
// subscription? Bodies that cannot be either are not parsed.
bool is_read(const Call& call);

// Does this call carry JSON-RPC 2.0 that is MCP's own: a method that MCP defines other than
// `tools/call`, a notification, a response, or a batch of nothing but these? Such messages are never
// guarded; every other method is a call like any other. Bodies that do not speak of "jsonrpc" are not
// parsed.
bool is_unguarded_json_rpc(const Call& call);

}  // namespace ledger
