#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

namespace {

void say_and_abort(const doctest::AssertData& failed) {
  std::fprintf(stderr, "%s:%d: %s\n  which is %s\n", failed.m_file, failed.m_line, failed.m_expr,
               failed.m_decomp.c_str());
  std::abort();
}

const bool installed = [] {
  static doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler(say_and_abort);
  return true;
}();

}  // namespace
