#include "fingerprint/url.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "fingerprint/text.h"

namespace ledger {
namespace {

// The octet that "%XX" at `at` encodes; -1 where it is malformed.
int encoded_octet(std::string_view text, std::size_t at) {
  if (at + 2 >= text.size()) return -1;
  const int high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

// Whether a hex digit behind `text` would make an encoded octet of the malformed "%" at its end:
// whoever decodes the path after us would find another one there than we did.
bool ends_in_open_escape(std::string_view text) {
  if (!text.empty() && hex_value(text.back()) >= 0) text.remove_suffix(1);
  return text.ends_with('%');
}

// RFC 3986 section 5.2.4, for an absolute path.
std::string remove_dot_segments(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    auto segment = path.substr(0, path.find('/', 1));
    path.remove_prefix(segment.size());
    if (segment == "/.") {
      if (path.empty()) out += '/';
    } else if (segment == "/..") {
      out.erase(std::min(out.size(), out.rfind('/')));
      if (path.empty()) out += '/';
    } else {
      out += segment;
    }
  }
  return out;
}

bool valid_host(std::string_view host) {
  if (host.empty() || host.front() == '.' || host.find("..") != host.npos) return false;
  if (host.front() == '[')
    return host.size() > 3 && host.back() == ']' &&
           host.find_first_not_of("0123456789abcdefABCDEF:.", 1) == host.size() - 1;
  return host.find_first_of("[]:@/?#\\<>\"{}|^`") == host.npos;
}

bool has_control_or_space(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

// 1 to 65535 in decimal; 0 where it is not that.
std::uint16_t port_value(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() ? port : 0;
}

// Host and port into `url`, whose scheme is known; or what is wrong.
std::optional<std::string> read_authority(std::string_view authority, Url& url) {
  if (authority.find('@') != authority.npos)
    return "the URL holds a user name or password before `@`; send credentials in a header";
  const auto bracket = authority.rfind(']');  // an IPv6 literal has colons of its own
  const auto colon = authority.find(':', bracket == authority.npos ? 0 : bracket);
  const auto host = authority.substr(0, colon);
  if (!valid_host(host)) return "the host `" + std::string(host) + "` is not one";
  url.host = lower_text(host);
  // The root's dot (RFC 1034 section 3.1): the same host, and neither TLS nor HTTP servers know it
  // by that.
  if (url.host.ends_with('.')) url.host.pop_back();
  if (colon == authority.npos || colon + 1 == authority.size()) return std::nullopt;
  const auto text = authority.substr(colon + 1);
  const auto port = port_value(text);
  if (port == 0) return "the port `" + std::string(text) + "` is not a number from 1 to 65535";
  if (port != (url.scheme == "https" ? 443 : 80)) url.port = std::to_string(port);
  return std::nullopt;
}

}  // namespace

std::uint16_t Url::port_number() const {
  if (!port.empty()) return port_value(port);
  return scheme == "https" ? 443 : 80;
}

std::string Url::origin() const { return scheme + "://" + host + (port.empty() ? "" : ":" + port); }

std::string Url::to_string() const {
  auto text = origin() + spelled_path();
  if (has_query) (text += '?') += query;
  return text;
}

tl::expected<Url, std::string> parse_url(std::string_view text) {
  if (has_control_or_space(text))
    return tl::unexpected<std::string>("a URL has no spaces or control characters");
  text = text.substr(0, text.find('#'));
  const auto colon = text.find("://");
  if (colon == text.npos)
    return tl::unexpected<std::string>("a URL starts with http:// or https://");
  Url url;
  url.scheme = lower_text(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https")
    return tl::unexpected<std::string>("the scheme is `" + url.scheme +
                                       "`; only http and https are known");
  text.remove_prefix(colon + 3);
  const auto authority = text.substr(0, text.find_first_of("/?"));
  text.remove_prefix(authority.size());
  if (auto fault = read_authority(authority, url)) return tl::unexpected(std::move(*fault));

  const auto question = text.find('?');
  url.set_path(text.substr(0, question));
  url.has_query = question != text.npos;
  if (url.has_query) url.query = text.substr(question + 1);
  return url;
}

std::string normalise_encoding(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    const int octet = path[i] == '%' ? encoded_octet(path, i) : -1;
    if (octet < 0) {
      out += path[i];
      continue;
    }
    const auto c = static_cast<char>(octet);
    if (is_unreserved(static_cast<unsigned char>(c)) &&
        !(hex_value(c) >= 0 && ends_in_open_escape(out)))
      out += c;
    else
      append_octet(out, static_cast<unsigned char>(octet));
    i += 2;
  }
  return out;
}

std::string normalise_path(std::string_view path) {
  auto out = remove_dot_segments(normalise_encoding(path));
  return out.empty() ? "/" : out;
}

void Url::set_path(std::string_view spelled) {
  path = normalise_path(spelled);
  path_received = spelled.empty() || spelled == path ? std::string() : std::string(spelled);
}

bool climbs_out(std::string_view path) {
  const auto decoded = percent_decode(path, false);
  std::size_t depth = 0;
  for (std::string_view rest = decoded; !rest.empty();) {
    const auto segment = rest.substr(0, rest.find_first_of("/\\"));
    rest.remove_prefix(std::min(rest.size(), segment.size() + 1));
    const auto name = segment.substr(0, segment.find(';'));  // some drop a segment's parameters
    if (name == "..") {
      if (depth == 0) return true;
      --depth;
    } else if (name != "." && !name.empty()) {  // some merge slashes
      ++depth;
    }
  }
  return false;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  append_encoded(out, text);
  return out;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int octet = text[i] == '%' ? encoded_octet(text, i) : -1;
    if (octet >= 0) {
      out += static_cast<char>(octet);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> parse_pairs(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!text.empty()) {
    const auto piece = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), piece.size() + 1));
    if (piece.empty()) continue;
    const auto equals = piece.find('=');
    pairs.emplace_back(percent_decode(piece.substr(0, equals), true),
                       equals == piece.npos ? "" : percent_decode(piece.substr(equals + 1), true));
  }
  return pairs;
}

}  // namespace ledger
