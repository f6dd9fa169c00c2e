// The first bytes that a client sends in a tunnel: a byte that says how they are split, and them.
#include "tests/fuzz/first_bytes.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  ledger::test::check_first_bytes(ledger::test::text_of(data + 1, size - 1), data[0]);
  return 0;
}
