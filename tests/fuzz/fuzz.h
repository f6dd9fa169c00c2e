// What the targets of tests/fuzz share. A target says with doctest's CHECK and REQUIRE what must
// hold for any bytes; outside of a test case the first that fails ends the process (asserts.cc).
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

// Named and typed by libFuzzer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace ledger::test {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The front of `rest` up to a line feed, which goes too: how an input holds more than one thing.
inline std::string_view take_line(std::string_view& rest) {
  const auto line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  return line;
}

}  // namespace ledger::test
