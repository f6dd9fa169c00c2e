#include "proxy/first_bytes.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>

#include "fingerprint/text.h"
#include "proxy/syntax.h"

namespace ledger {
namespace {

constexpr std::size_t host_max = 253;  // RFC 1035 section 2.3.4, as text

// What parsers have taken for the space between a request line's words (RFC 9112 section 3).
constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

bool is_known_method(std::string_view method) {
  constexpr std::array<std::string_view, 9> known = {
      "GET", "HEAD", "POST", "PUT", "PATCH", "TRACE", "OPTIONS", "DELETE", "CONNECT"};
  return std::any_of(known.begin(), known.end(),
                     [&](std::string_view k) { return same_text(k, method); });
}

// --- ClientHello: OpenSSL reads it, so that ours and its reading of it cannot differ -------------

struct Peeked {
  bool whole = false, clear = true;
  std::string name;
};

int peeked_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// A server_name extension is a list with room for more than one name, and other kinds of them. One
// host name is what everybody reads alike: two bytes of the list's length, a type (0), two bytes of
// length, the name.
bool read_only_name(const unsigned char* data, std::size_t size, std::string& name) {
  if (size < 5) return false;
  const std::size_t list = (std::size_t{data[0]} << 8) | data[1];
  const std::size_t length = (std::size_t{data[3]} << 8) | data[4];
  if (list != size - 2 || data[2] != 0 || length != size - 5) return false;
  name = lower_text({reinterpret_cast<const char*>(data + 5), length});
  if (name.ends_with('.')) name.pop_back();
  return is_host_name(name);
}

// Called when the ClientHello is whole; reads no further.
int peek(SSL* ssl, int*, void*) {
  auto& peeked = *static_cast<Peeked*>(SSL_get_ex_data(ssl, peeked_index()));
  peeked.whole = true;
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) == 1)
    peeked.clear = read_only_name(data, size, peeked.name);
  return SSL_CLIENT_HELLO_ERROR;
}

SSL* new_hello() {
  static const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context = [] {
    auto* const made = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_client_hello_cb(made, peek, nullptr);
    return std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>(made, SSL_CTX_free);
  }();
  SSL* const ssl = SSL_new(context.get());
  if (ssl == nullptr) return nullptr;
  BIO* const in = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in, -1);  // the end of what came is not the end
  SSL_set_bio(ssl, in, BIO_new(BIO_s_mem()));
  return ssl;
}

}  // namespace

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > host_max) return false;
  if (host.front() == '[') {
    if (host.back() != ']') return false;
    boost::system::error_code error;
    boost::asio::ip::make_address_v6(std::string(host.substr(1, host.size() - 2)), error);
    return !error;
  }
  const bool characters = std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' ||
           c == '-' || c == '_';
  });
  return characters && host.front() != '.' && host.find("..") == host.npos;
}

void FirstLook::Free::operator()(SSL* ssl) const { SSL_free(ssl); }
FirstLook::~FirstLook() = default;

FirstBytes FirstLook::at(std::string_view bytes) {
  if (decided_ != FirstBytes::undecided || bytes.size() == seen_) return decided_;
  constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  if (bytes.size() < preface.size() && preface.starts_with(bytes)) return decided_;
  if (bytes.starts_with(preface)) return decided_ = FirstBytes::http2;
  constexpr char handshake = 22, version = 3;  // of a TLS record (RFC 8446 section 5.1)
  const bool tls = bytes[0] == handshake;
  if (tls && bytes.size() > 1 && bytes[1] != version) return decided_ = FirstBytes::other;
  decided_ = tls ? more_of_hello(bytes) : more_of_line(bytes);
  if (decided_ == FirstBytes::undecided && bytes.size() > bytes_max_)
    decided_ = tls ? FirstBytes::refused : FirstBytes::http;
  return decided_;
}

FirstBytes FirstLook::more_of_hello(std::string_view bytes) {
  if (!hello_) hello_.reset(new_hello());
  if (!hello_) return FirstBytes::refused;
  Peeked peeked;
  SSL_set_ex_data(hello_.get(), peeked_index(), &peeked);
  const auto news = bytes.substr(seen_, bytes_max_);
  BIO_write(SSL_get_rbio(hello_.get()), news.data(), static_cast<int>(news.size()));
  seen_ = bytes.size();
  const int result = SSL_accept(hello_.get());
  const bool more = SSL_get_error(hello_.get(), result) == SSL_ERROR_WANT_READ;
  ERR_clear_error();
  if (!peeked.whole) return more ? FirstBytes::undecided : FirstBytes::refused;
  if (!peeked.clear) return FirstBytes::refused;
  server_name_ = std::move(peeked.name);
  return FirstBytes::tls;
}

FirstBytes FirstLook::more_of_line(std::string_view bytes) {
  for (; seen_ < bytes.size(); ++seen_)
    if (const auto seen = line_byte(bytes, bytes[seen_]); seen != FirstBytes::undecided)
      return seen;
  return FirstBytes::undecided;
}

// The plainest reading that any server could have: empty lines first, a word, white space,
// whatever.
FirstBytes FirstLook::line_byte(std::string_view bytes, char c) {
  switch (part_) {
    case Part::lead:
      if (c == '\n' || is_space(c)) return FirstBytes::undecided;
      if (!is_token_char(c)) return FirstBytes::other;
      part_ = Part::method;
      method_ = seen_;
      return FirstBytes::undecided;
    case Part::method:
      if (is_token_char(c)) return FirstBytes::undecided;
      if (!is_space(c)) return FirstBytes::other;
      part_ = Part::rest;
      target_ = seen_ + 1;
      return FirstBytes::undecided;
    case Part::rest:
      break;
  }
  if (c == '\n') return whole_line(bytes.substr(0, seen_));
  const auto method = bytes.substr(method_, target_ - 1 - method_);
  return c == '\0' && !is_known_method(method) ? FirstBytes::other : FirstBytes::undecided;
}

// A request has a version at its end, whatever it is; or it is HTTP/0.9, and has but a target.
FirstBytes FirstLook::whole_line(std::string_view line) const {
  auto rest = line.substr(target_);
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  if (rest.empty()) return FirstBytes::other;
  const auto begins = [&](std::size_t at, std::string_view word) {
    return same_text(rest.substr(at, word.size()), word);
  };
  if (begins(0, "/") || begins(0, "http:") || begins(0, "https:") || begins(0, "HTTP/"))
    return FirstBytes::http;
  for (std::size_t i = 1; i < rest.size(); ++i)
    if (is_space(rest[i - 1]) && begins(i, "HTTP/")) return FirstBytes::http;
  return FirstBytes::other;
}

}  // namespace ledger
