// Reproducible randomness: SplitMix64. A stream of its own for each purpose, so that leaving one
// thing out of a scenario does not change the others.
#pragma once

#include <cstdint>

namespace ledger::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  Random(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0)
      : state_(seed ^ (a + 1) * 0x9E3779B97F4A7C15 ^ (b + 1) * 0xC2B2AE3D27D4EB4F) {
    next();
  }
  std::uint64_t next() {
    auto z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // 0 .. below-1
  std::uint64_t below(std::uint64_t below) { return next() % below; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  bool chance(std::uint64_t percent) { return below(100) < percent; }

 private:
  std::uint64_t state_;
};

}  // namespace ledger::sim
