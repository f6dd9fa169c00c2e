#include "proxy/head_parser.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>

#include "config/route.h"
#include "proxy/syntax.h"

namespace ledger {

namespace http = boost::beast::http;
using boost::beast::string_view;

namespace {

constexpr std::size_t fields_max = 256;
constexpr std::size_t text_keep_max = 8'192;  // an idle connection is small
constexpr std::size_t fields_keep_max = 64;

// Beast joins folded lines before it hands out the field, so they are looked for in the raw head
// (RFC 9112 section 5.2). `text` has no bare LF: MessageReader has seen to that.
bool has_fold(std::string_view text) {
  for (auto at = text.find('\n'); at + 1 < text.size(); at = text.find('\n', at + 1))
    if (text[at + 1] == ' ' || text[at + 1] == '\t') return true;
  return false;
}

// Host = uri-host [ ":" port ] (RFC 9110 section 7.2); nothing that could be read as more.
bool is_host(std::string_view s) {
  const auto bad = [](unsigned char c) {
    constexpr std::string_view delimiters = "/?#@\\<>\"{}|^`,";
    return c <= ' ' || c >= 0x7f || delimiters.find(static_cast<char>(c)) != delimiters.npos;
  };
  if (std::any_of(s.begin(), s.end(), bad)) return false;
  if (s.starts_with('[')) {
    const auto end = s.find(']');
    if (end == s.npos) return false;
    s.remove_prefix(end + 1);
    if (!s.empty() && s.front() != ':') return false;
  }
  if (s.find_first_of("[]") != s.npos) return false;
  const auto colon = s.find(':');
  return colon == s.npos || std::all_of(s.begin() + colon + 1, s.end(), is_digit);
}

// What Beast calls it, said for a person.
std::string_view sentence(const ErrorCode& error) {
  if (error == http::error::bad_line_ending) return "a bare CR in the header";
  if (error == http::error::bad_method) return "a method that is no token, or no single space";
  if (error == http::error::bad_target) return "a target with a character it must not have";
  if (error == http::error::bad_version) return "a version other than HTTP/1.0 and HTTP/1.1";
  if (error == http::error::bad_status) return "a malformed status line";
  if (error == http::error::bad_reason) return "a control character in the status line";
  if (error == http::error::bad_field) return "a header name that is no token";
  if (error == http::error::bad_value) return "a header value that is malformed";
  if (error == http::error::bad_content_length) return "a Content-Length that is not a number";
  if (error == http::error::multiple_content_length) return "two different Content-Lengths";
  if (error == http::error::bad_transfer_encoding)
    return "Transfer-Encoding twice, or beside Content-Length";
  return "a malformed header";
}

FieldKind kind_of(http::field field, std::string_view name) {
  switch (field) {
    case http::field::host:
      return FieldKind::host;
    case http::field::connection:
      return FieldKind::connection;
    case http::field::keep_alive:
    case http::field::proxy_connection:
    case http::field::proxy_authenticate:
    case http::field::proxy_authorization:
    case http::field::te:
    case http::field::trailer:
    case http::field::upgrade:
    case http::field::http2_settings:
      return FieldKind::hop_by_hop;
    case http::field::content_length:
      return FieldKind::content_length;
    case http::field::transfer_encoding:
      return FieldKind::transfer_encoding;
    case http::field::expect:
      return FieldKind::expect;
    case http::field::via:
      return FieldKind::via;
    case http::field::authorization:
    case http::field::www_authenticate:
    case http::field::authentication_info:
      return FieldKind::authentication;
    case http::field::origin:
      return FieldKind::page;
    default:
      constexpr std::string_view ours = "ledger-";
      if (name.size() > ours.size() && iequals(name.substr(0, ours.size()), ours))
        return FieldKind::ledger;
      if (iequals(name, "Sec-Fetch-Site")) return FieldKind::page;
      if (iequals(name, "Persistent-Auth")) return FieldKind::authentication;
      return is_method_override(name) ? FieldKind::method_override : FieldKind::other;
  }
}

std::string_view view(string_view text) { return {text.data(), text.size()}; }

}  // namespace

// A challenge may list several schemes; a credential begins with its own.
bool binds_connection(const HeaderView& f) {
  static constexpr std::array<std::string_view, 4> schemes{"NTLM", "Negotiate", "Kerberos",
                                                           "CredSSP"};
  if (iequals(f.name, "Authentication-Info")) return true;
  if (iequals(f.name, "Persistent-Auth")) return !iequals(f.value, "false");
  const bool one = iequals(f.name, "Authorization");
  if (!one && !iequals(f.name, "WWW-Authenticate")) return false;
  return std::any_of(schemes.begin(), schemes.end(), [&](std::string_view scheme) {
    for (std::size_t at = 0; at + scheme.size() <= f.value.size(); ++at) {
      if (iequals(f.value.substr(at, scheme.size()), scheme)) return true;
      if (one) break;
    }
    return false;
  });
}

// Beast's views point into the text it is given, which is the owner's.
template <bool isRequest>
class HeadParser::Parser : public http::basic_parser<isRequest> {
 public:
  explicit Parser(HeadParser& owner) : to_(owner) {
    this->body_limit(boost::none);
    this->header_limit(UINT32_MAX);  // MessageReader bounds it
  }

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       ErrorCode& error) override {
    error = {};
    to_.head_.method = view(method);
    to_.head_.target = view(target);
    to_.head_.version = version;
  }
  void on_response_impl(int status, string_view reason, int version, ErrorCode& error) override {
    error = {};
    to_.head_.reason = view(reason);
    to_.head_.status = status;
    to_.head_.version = version;
  }
  void on_field_impl(http::field field, string_view name, string_view value,
                     ErrorCode& error) override {
    error = {};
    if (to_.head_.fields.size() >= fields_max) {
      error = http::error::header_limit;
      return;
    }
    to_.head_.fields.push_back({view(name), trim_ows(view(value))});
    to_.head_.kinds.push_back(kind_of(field, view(name)));
  }
  void on_header_impl(ErrorCode& error) override {
    error = {};
    to_.whole_ = true;
  }
  // Bodies never come here: only heads are put in.
  void on_body_init_impl(boost::optional<std::uint64_t> const&, ErrorCode&) override {}
  std::size_t on_body_impl(string_view body, ErrorCode&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, string_view, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, ErrorCode&) override {
    return body.size();
  }
  void on_finish_impl(ErrorCode& error) override { error = {}; }

  HeadParser& to_;
};

ReadError HeadParser::fail(ReadError error, std::string_view why) {
  forget();
  detail_.assign(why);
  return error;
}

void HeadParser::forget() {
  auto fields = std::move(head_.fields);
  auto kinds = std::move(head_.kinds);
  fields.clear();
  kinds.clear();
  if (fields.capacity() > fields_keep_max) {
    fields.shrink_to_fit();
    kinds.shrink_to_fit();
  }
  head_ = Head();
  head_.keep_alive = false;
  head_.fields = std::move(fields);
  head_.kinds = std::move(kinds);
  detail_.clear();
  text_.clear();
  if (text_.capacity() > text_keep_max) text_.shrink_to_fit();
  whole_ = false;
}

ReadError HeadParser::parse(std::string_view text, bool to_head) {
  forget();
  if (has_fold(text)) return fail(ReadError::malformed, "a folded header line");
  const bool request = side_ == MessageReader::Side::requests;
  constexpr std::size_t to_status = 12;  // "HTTP/1.1 200"
  if (!request && text.size() > to_status && text[to_status] == '\r') {
    // Some servers leave out the space before an empty reason. It is harmless, and to refuse it
    // would make an unknown outcome of an answer that is clear.
    ((text_ += text.substr(0, to_status)) += ' ') += text.substr(to_status);
  } else {
    text_ = text;
  }
  auto error = request ? parse_fields<true>() : parse_fields<false>();
  if (error != ReadError::none) return error;
  if (!request && head_.status < 100) return fail(ReadError::malformed, "a status below 100");
  error = check_host();
  if (error == ReadError::none) error = check_connection();
  if (error == ReadError::none) error = read_override();
  if (error == ReadError::none) error = read_framing(to_head);
  if (error == ReadError::none) read_connection();
  return error;
}

template <bool isRequest>
ReadError HeadParser::parse_fields() {
  Parser<isRequest> parser(*this);
  ErrorCode error;
  parser.put(asio::buffer(text_), error);
  if (error == http::error::header_limit)
    return fail(ReadError::head_too_large, "too many header fields");
  if (error) return fail(ReadError::malformed, sentence(error));
  if (!whole_) return fail(ReadError::malformed, "an incomplete header");
  return ReadError::none;
}

// RFC 9112 section 3.2: a 1.1 request without exactly one Host is refused.
ReadError HeadParser::check_host() {
  if (side_ == MessageReader::Side::responses) return ReadError::none;
  std::size_t hosts = 0;
  for (std::size_t i = 0; i < head_.fields.size(); ++i)
    if (head_.kinds[i] == FieldKind::host) {
      if (!is_host(head_.fields[i].value))
        return fail(ReadError::malformed, "a Host that is not one");
      head_.host = head_.fields[i].value;
      ++hosts;
    }
  if (hosts > 1) return fail(ReadError::malformed, "two Host fields");
  if (hosts == 0 && head_.version == 11 && head_.method != "CONNECT")
    return fail(ReadError::malformed, "no Host field");
  return ReadError::none;
}

ReadError HeadParser::read_override() {
  if (side_ == MessageReader::Side::responses) return ReadError::none;
  for (std::size_t i = 0; i < head_.fields.size(); ++i) {
    if (head_.kinds[i] != FieldKind::method_override) continue;
    const auto method = head_.fields[i].value;
    if (!is_token(method)) return fail(ReadError::malformed, "a method override that is no method");
    if (!head_.method_override.empty() && head_.method_override != method)
      return fail(ReadError::malformed, "two method overrides that differ");
    head_.method_override = method;
  }
  return ReadError::none;
}

// Connection may not name what is meant for the destination (RFC 9110 section 7.6.1): it would be
// left out on the way, and the destination would read another call than was judged here.
ReadError HeadParser::check_connection() {
  if (side_ == MessageReader::Side::responses) return ReadError::none;
  const auto is_for_the_destination = [](std::string_view item) {
    constexpr std::string_view content = "content-";
    constexpr std::array<std::string_view, 5> names = {"host", "authorization", "cookie", "origin",
                                                       "idempotency-key"};
    return iequals(item.substr(0, content.size()), content) ||
           std::any_of(names.begin(), names.end(),
                       [&](std::string_view name) { return iequals(item, name); });
  };
  bool found = false;
  for (std::size_t i = 0; i < head_.fields.size(); ++i)
    if (head_.kinds[i] == FieldKind::connection)
      each_item(head_.fields[i].value,
                [&](std::string_view item) { found = found || is_for_the_destination(item); });
  if (!found) return ReadError::none;
  return fail(ReadError::malformed, "a Connection that names a field meant for the destination");
}

// RFC 9112 section 9.3; RFC 9110 sections 7.8 and 10.1.1. What HTTP/1.0 does not know is ignored
// there.
void HeadParser::read_connection() {
  bool close = false, keep = false, upgrade = false, named = false, proxy_close = false;
  bool websocket = false;
  const bool request = side_ == MessageReader::Side::requests;
  for (std::size_t i = 0; i < head_.fields.size(); ++i) {
    const auto kind = head_.kinds[i];
    if (kind == FieldKind::other) continue;
    const auto& f = head_.fields[i];
    if (kind == FieldKind::connection) {
      named = true;
      close = close || list_has(f.value, "close");
      keep = keep || list_has(f.value, "keep-alive");
      upgrade = upgrade || list_has(f.value, "upgrade");
    } else if (kind == FieldKind::hop_by_hop && iequals(f.name, "Upgrade")) {
      // A request may offer several; an answer has chosen one.
      websocket =
          websocket || (request ? list_has(f.value, "websocket") : iequals(f.value, "websocket"));
    } else if (kind == FieldKind::authentication) {
      head_.binds_connection = head_.binds_connection || binds_connection(f);
    } else if (iequals(f.name, "Proxy-Connection")) {
      proxy_close = proxy_close || list_has(f.value, "close");
    } else if (kind == FieldKind::expect) {
      head_.expect_continue =
          head_.expect_continue || (head_.version == 11 && list_has(f.value, "100-continue"));
    }
  }
  close = close || (!named && proxy_close);
  // A body that ends with its connection leaves none to keep.
  head_.keep_alive =
      !close && (head_.version == 11 || keep) && head_.framing != Framing::until_close;
  const bool can_upgrade =
      request ? head_.method == "GET" && head_.framing == Framing::none : head_.status == 101;
  head_.upgrade = upgrade && can_upgrade && head_.version == 11 && websocket;
}

// Content-Length and Transfer-Encoding (RFC 9112 section 6): anything that two parsers could read
// in two ways is refused, lists of equal lengths included.
ReadError HeadParser::read_lengths(bool& has_length, bool& chunked) {
  for (std::size_t i = 0; i < head_.fields.size(); ++i) {
    const auto& f = head_.fields[i];
    if (head_.kinds[i] == FieldKind::content_length) {
      std::uint64_t length = 0;
      const auto* end = f.value.data() + f.value.size();
      const auto [at, error] = std::from_chars(f.value.data(), end, length);
      if (f.value.empty() || at != end || error != std::errc() || length > INT64_MAX)
        return fail(ReadError::malformed, "a Content-Length that is not a number");
      if (has_length && length != head_.content_length)
        return fail(ReadError::malformed, "two different Content-Lengths");
      has_length = true;
      head_.content_length = length;
    } else if (head_.kinds[i] == FieldKind::transfer_encoding) {
      if (chunked) return fail(ReadError::malformed, "Transfer-Encoding stands twice");
      if (!iequals(f.value, "chunked"))
        return fail(ReadError::not_implemented, "a Transfer-Encoding other than chunked");
      chunked = true;
    }
  }
  if (has_length && chunked)
    return fail(ReadError::malformed, "Content-Length and Transfer-Encoding together");
  if (chunked && head_.version == 10)
    return fail(ReadError::malformed, "Transfer-Encoding in HTTP/1.0");
  return ReadError::none;
}

// RFC 9112 section 6.3.
ReadError HeadParser::read_framing(bool to_head) {
  bool has_length = false, chunked = false;
  const auto error = read_lengths(has_length, chunked);
  if (error != ReadError::none) return error;
  const bool response = side_ == MessageReader::Side::responses;
  const auto status = head_.status;
  if (response && (to_head || status / 100 == 1 || status == 204 || status == 304))
    head_.framing = Framing::none;
  else if (chunked)
    head_.framing = Framing::chunked;
  else if (has_length)
    head_.framing = Framing::length;
  else
    head_.framing = response ? Framing::until_close : Framing::none;
  return ReadError::none;
}

}  // namespace ledger
