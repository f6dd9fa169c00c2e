// What a client speaks in a tunnel, told from its first bytes: they are a stranger's, and may come
// one by one.
#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ledger {

enum class FirstBytes : std::uint8_t {
  undecided,  // nothing yet, or what may still become a request line or a ClientHello
  tls,        // a whole ClientHello; it names a host, or none
  http,       // a line that some server could take for a request: the strict reader has the say
  http2,      // the preface of HTTP/2 (RFC 9113 section 3.4)
  refused,    // TLS that is malformed, or names a host in a way that two readers could read in two
  other       // another protocol
};

// Looks at the first bytes as they come. Each byte is looked at once, however they are split.
class FirstLook {
 public:
  // What has begun and is longer than `bytes_max` is decided: a line is http, a ClientHello
  // refused.
  explicit FirstLook(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  ~FirstLook();
  FirstLook(const FirstLook&) = delete;
  FirstLook& operator=(const FirstLook&) = delete;

  // `bytes`: all that have come so far; each time the same ones, and more behind them. Once it is
  // decided it stays so.
  FirstBytes at(std::string_view bytes);
  // Of tls: the ClientHello's SNI (RFC 6066 section 3), lower case and without a final dot; empty
  // where it has none. Always a host name.
  const std::string& server_name() const { return server_name_; }

 private:
  enum class Part : std::uint8_t { lead, method, rest };
  FirstBytes more_of_hello(std::string_view bytes);
  FirstBytes more_of_line(std::string_view bytes);
  FirstBytes line_byte(std::string_view bytes, char c);
  FirstBytes whole_line(std::string_view line) const;

  struct Free {
    void operator()(SSL* ssl) const;
  };
  const std::size_t bytes_max_;
  FirstBytes decided_ = FirstBytes::undecided;
  std::size_t seen_ = 0;
  Part part_ = Part::lead;
  std::size_t method_ = 0, target_ = 0;  // where they begin
  std::unique_ptr<SSL, Free> hello_;
  std::string server_name_;
};

// Can `host` be looked up and put into a certificate, meaning one name? Letters, digits, dots,
// hyphens and underscores, in any case; or an IP address (IPv6 in brackets).
bool is_host_name(std::string_view host);

}  // namespace ledger
