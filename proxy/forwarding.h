// Which header fields cross the proxy, and which it adds: the rules of both directions stand here.
// RFC 9110 sections 7.6.1 (hop-by-hop), 7.6.3 (Via); RFC 9112 section 3.2.2 (Host).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fingerprint/url.h"
#include "guard/exchange.h"
#include "guard/metrics.h"
#include "proxy/message.h"

namespace ledger {

// What a forwarded request says besides the client's own fields.
struct Forwarding {
  const Url* url = nullptr;         // the upstream's
  std::string_view via;             // our pseudonym
  std::string_view client_address;  // X-Forwarded-For; reverse mode only
  bool reverse = false;             // adds X-Forwarded-For, -Host and -Proto
  std::string_view drop;  // one more field to leave out (an upstream_key that is replaced)
  const StoredRequest* stored = nullptr;  // its media type and coding stand for the client's
};

// Appends the request line and all fields that cross, without the ones that frame the body and
// without the empty line. Left out: hop-by-hop fields, Host (written anew), Content-Length, Expect
// and everything named Ledger-*.
void append_forwarded_request(std::string& out, const Head& head, const Forwarding& how);

// The end-to-end fields of an upstream's answer, as a record keeps them. Content-Length only where
// the answer has no body by its nature (HEAD, 304).
AnswerHead answer_head(const Head& head);

// The same, written out, with the length that the upstream said.
void append_answer_fields(std::string& out, const Head& head);

// RFC 9110 section 7.6.3: `version` (10 or 11) of the message that we took, after `earlier` ones.
void append_via(std::string& out, std::string_view earlier, int version, std::string_view via);

// What Ledger says about an answer.
struct LedgerFields {
  CallStatus status = CallStatus::passed;
  std::string_view record;    // the record's id in hex; empty: none
  std::string_view route;     // empty: none
  std::uint64_t attempt = 0;  // 0: none
};
void append_ledger_fields(std::string& out, const LedgerFields& fields);

// How the answer's end is shown to the client.
void append_connection(std::string& out, int client_version, bool keep_alive);

// Is this end-to-end answer field kept from a caller that did not cause it?
bool only_for_first_caller(std::string_view name);

// Does the caller's Accept-Encoding rule `coding` out? Without the field any is acceptable (RFC
// 9110 section 12.5.3), and one that names others alone rules out the rest.
bool excludes_coding(const Head& request, std::string_view coding);

}  // namespace ledger
