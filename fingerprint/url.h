// Absolute http(s) URLs, normalised as identity needs them (RFC 3986 section 6.2.2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace ledger {

struct Url {
  std::string scheme;  // "http" or "https", lower case
  std::string host;    // lower case, without a final dot, IDNA as received; an IPv6 literal keeps
                       // its brackets
  std::string port;    // digits; empty when it is the scheme's default (80, 443)
  std::string
      path;  // normalised: unreserved octets decoded, upper-case hex, no dot segments; never empty
  std::string query;  // as received, without '?'
  bool has_query = false;
  std::string path_received;  // as it came, where it is spelled otherwise than `path`; else empty

  // The path to send: a proxy must not respell it (RFC 9110 section 7.7), and AWS signs it. `path`
  // is for identity and for matching alone.
  const std::string& spelled_path() const { return path_received.empty() ? path : path_received; }
  void set_path(std::string_view spelled);  // both of them

  std::uint16_t port_number() const;  // the default where `port` is empty
  std::string origin() const;         // scheme://host[:port]
  std::string to_string() const;      // origin + spelled path + [?query]
};

// Parses an absolute URL. A fragment is dropped. Errors (one sentence for a person): another
// scheme, empty or malformed host, user info, bad port, a control character or space.
tl::expected<Url, std::string> parse_url(std::string_view text);

// RFC 3986 6.2.2: decodes percent-encoded unreserved octets, upper-cases the hex of the others,
// removes dot segments. "" becomes "/". A malformed "%" stays as it is, and malformed.
std::string normalise_path(std::string_view path);
// The same, but for its dot segments, which stay.
std::string normalise_encoding(std::string_view path);

// Do the dot segments of `path` lead out of where it begins? Also as a server may read it that
// decodes `%2F` and `%5C` before it looks for dots, merges slashes or drops `;parameters`.
bool climbs_out(std::string_view path);

// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
std::string percent_encode(std::string_view text);

// Percent-decodes; with `plus_is_space` also '+' (application/x-www-form-urlencoded).
std::string percent_decode(std::string_view text, bool plus_is_space);

// The decoded name/value pairs of a query or a form body, in the order received; empty pieces
// between '&' are skipped. "a" is ("a", "").
std::vector<std::pair<std::string, std::string>> parse_pairs(std::string_view text);

}  // namespace ledger
