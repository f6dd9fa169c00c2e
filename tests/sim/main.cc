// sim: runs simulated histories, seed after seed, and says which of them broke the promise.
//
//   sim [--seed N] [--seeds N] [--seconds N] [--verbose]
//
// `--seed N` runs that one alone. Otherwise seeds 1, 2, 3 ... up to --seeds, as long as --seconds
// allow. A failure is shrunk to what is needed for it, and its trace printed. Exit: 0 none failed,
// 1 one did, 2 usage.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/sim/world.h"

using namespace ledger::sim;

namespace {

struct Options {
  std::uint64_t first = 1, seeds = 100'000, seconds = 240;
  bool one = false, verbose = false;
};

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    if (i + 1 == argc) return std::nullopt;
    char* end = nullptr;
    const auto value = std::strtoull(argv[++i], &end, 10);
    if (*end != '\0') return std::nullopt;
    if (name == "--seed") {
      options.first = value;
      options.one = true;
    } else if (name == "--seeds") {
      options.seeds = value;
    } else if (name == "--seconds") {
      options.seconds = value;
    } else {
      return std::nullopt;
    }
  }
  if (options.one) options.seeds = 1;
  return options;
}

bool breaks(const Scenario& scenario, const std::string& rule) {
  World world(scenario, false);
  const auto violation = world.run();
  return violation && violation->rule == rule;
}

// Leaves out whatever is not needed for the same rule to break.
Scenario shrunk(Scenario scenario, const std::string& rule) {
  auto calm = scenario;
  calm.calm_wire = true;
  if (breaks(calm, rule)) scenario = calm;
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (std::size_t i = scenario.actions.size(); i-- > 0;) {
      auto without = scenario;
      without.actions.erase(without.actions.begin() + static_cast<std::ptrdiff_t>(i));
      if (!breaks(without, rule)) continue;
      scenario = std::move(without);
      smaller = true;
    }
  }
  return scenario;
}

void print(const Scenario& scenario, const std::optional<Violation>& violation,
           const std::vector<std::string>& trace) {
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(scenario.seed),
              scenario.describe().c_str());
  for (const auto& line : trace) std::printf("%s\n", line.c_str());
  if (violation)
    std::printf("BROKEN %s (key %d): %s\n", violation->rule.c_str(), violation->key,
                violation->what.c_str());
}

void report(const Scenario& scenario, const Violation& violation) {
  const auto small = shrunk(scenario, violation.rule);
  std::printf("shrunk from %zu to %zu actions\n", scenario.actions.size(), small.actions.size());
  World world(small, true);
  const auto again = world.run();
  print(small, again, world.traced());
  std::printf("the whole of it: sim --seed %llu --verbose\n",
              static_cast<unsigned long long>(scenario.seed));
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: sim [--seed N] [--seeds N] [--seconds N] [--verbose]\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto until = start + std::chrono::seconds(options->seconds);
  std::uint64_t ran = 0;
  Totals totals;
  for (; ran < options->seeds && std::chrono::steady_clock::now() < until; ++ran) {
    const auto scenario = Scenario::from(options->first + ran);
    World world(scenario, options->verbose);
    const auto violation = world.run();
    if (options->verbose) print(scenario, violation, world.traced());
    if (violation) {
      report(scenario, *violation);
      return 1;
    }
    totals.calls += world.totals().calls;
    totals.effects += world.totals().effects;
    totals.crashes += world.totals().crashes;
    totals.steps += world.totals().steps;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf(
      "%llu seeds, none broke the promise: %llu calls, %llu effects, %llu crashes, "
      "%llu steps in %.1f s\n",
      static_cast<unsigned long long>(ran), static_cast<unsigned long long>(totals.calls),
      static_cast<unsigned long long>(totals.effects),
      static_cast<unsigned long long>(totals.crashes),
      static_cast<unsigned long long>(totals.steps), took.count());
  return 0;
}
