// A ClientHello: a byte that says how it is cut into records, one that says how those are split,
// and what follows the handshake's own header. Lengths are put in here, so that a change of the
// inside reaches the inside.
#include "tests/fuzz/first_bytes.h"

namespace ledger::test {
namespace {

void append_number(std::string& out, std::size_t n, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(n >> (8 * i) & 0xFF);
}

std::string in_records(std::string_view message, std::size_t longest) {
  std::string out;
  while (!message.empty()) {
    const auto piece = message.substr(0, longest);
    out += "\x16\x03\x01";
    append_number(out, piece.size(), 2);
    out += piece;
    message.remove_prefix(piece.size());
  }
  return out;
}

void check(std::string_view text) {
  if (text.size() < 3 || text.size() > 4096) return;
  const auto cut = static_cast<unsigned char>(text[0]), how = static_cast<unsigned char>(text[1]);
  text.remove_prefix(2);
  std::string message = "\x01";  // client_hello (RFC 8446 section 4)
  append_number(message, text.size(), 3);
  message += text;
  const auto whole = in_records(message, 16'384);
  const auto told = check_first_bytes(whole, how);
  // It is whole: there is nothing to wait for, and it stays TLS.
  CHECK((told.what == FirstBytes::tls || told.what == FirstBytes::refused));
  const auto pieces = in_records(message, 1 + cut * 4);
  const auto again = check_first_bytes(pieces, how);
  // Whoever cuts it small may be refused for it, never taken for somebody else.
  if (again.what == FirstBytes::tls) CHECK(again == told);
  CHECK((again.what == FirstBytes::tls || again.what == FirstBytes::refused));
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
