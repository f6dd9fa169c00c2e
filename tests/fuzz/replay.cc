// A target without libFuzzer: its seeds, and mutations of them that come from a number, so that
// they can be had again.
//   fuzz_NAME [SEED] FILE|FOLDER...
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace std::string_view_literals;

constexpr int rounds = 5000;
std::string doing;  // for whoever reads of an abort

void say_what_was_done(int) {
  std::fprintf(stderr, "in %s\n", doing.c_str());
  std::signal(SIGABRT, SIG_DFL);
}

std::vector<std::string> files_in(const char* path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

class Mutator {
 public:
  Mutator(unsigned seed, const std::vector<std::string>& seeds) : engine_(seed), seeds_(seeds) {}

  // One of the seeds, changed in one to four places.
  std::string next() {
    auto text = any();
    for (auto n = 1 + below(4); n > 0; --n) change(text);
    return text;
  }

 private:
  std::size_t below(std::size_t n) { return engine_() % n; }
  const std::string& any() { return seeds_[below(seeds_.size())]; }

  void change(std::string& text) {
    static constexpr auto telling = "\0\t\r\n \"#%&'*+,-./0:;=?@[\\]^_a{|}~\x7f\x80\xc3\xff"sv;
    const auto at = below(text.size() + 1);
    const auto some = below(8) + 1;
    switch (below(5)) {
      case 0:
        text.erase(at, some);
        break;
      case 1:
        text.insert(at, 1, telling[below(telling.size())]);
        break;
      case 2:
        if (at < text.size()) text[at] = telling[below(telling.size())];
        break;
      case 3:  // again, elsewhere
        text.insert(below(text.size() + 1), text.substr(at, some * 4));
        break;
      default: {
        const auto& other = any();
        text.replace(at, some, other.substr(below(other.size() + 1), some * 4));
      }
    }
  }

  std::mt19937 engine_;
  const std::vector<std::string>& seeds_;
};

void run(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

int main(int count, char** words) {
  unsigned seed = 1;
  std::vector<std::string> seeds;
  std::signal(SIGABRT, say_what_was_done);
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (std::from_chars(word.data(), word.data() + word.size(), seed).ptr ==
        word.data() + word.size())
      continue;
    for (const auto& file : files_in(words[i])) {
      std::ifstream in(file, std::ios::binary);
      if (!in) return std::fprintf(stderr, "%s cannot be read\n", file.c_str()), 1;
      seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
      doing = file;
      run(seeds.back());
    }
  }
  if (seeds.empty()) return std::fprintf(stderr, "usage: %s [SEED] FILE|FOLDER...\n", words[0]), 2;
  Mutator mutator(seed, seeds);
  for (int round = 0; round < rounds; ++round) {
    doing = "round " + std::to_string(round) + " of seed " + std::to_string(seed);
    run(mutator.next());
  }
  std::printf("%zu seeds and %d mutations of them, by seed %u\n", seeds.size(), rounds, seed);
}
