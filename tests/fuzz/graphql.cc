// A GraphQL document: whose operation can be told has the keyword of it outside of strings and
// comments, and what is put around it without a meaning changes nothing.
#include "fingerprint/graphql.h"

#include <string>

#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

void check(std::string_view text) {
  const auto name = take_line(text);
  const auto told = selected_operation(text, name);
  CHECK(selected_operation("# comment\n" + std::string(text) + " ,\t\n# end", name) ==
        (text.starts_with("\xef\xbb\xbf") ? std::nullopt : told));
  if (!told) return;
  // Nothing else may hide in it: a second operation of the same name is never chosen between.
  const std::string_view keyword = *told == GraphqlOperation::mutation       ? "mutation"
                                   : *told == GraphqlOperation::subscription ? "subscription"
                                                                             : "";
  CHECK(text.find(keyword) != text.npos);
  CHECK(text.find('{') != text.npos);
  if (!name.empty()) {
    const std::string twin = "\nmutation " + std::string(name) + " { pay }";
    CHECK_FALSE(selected_operation(std::string(text) + twin, name).has_value());
  }
  CHECK_FALSE(selected_operation(std::string(text) + "\nmutation { pay }", name).has_value());
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
