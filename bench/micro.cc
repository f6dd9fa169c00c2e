// Micro-benchmarks of what a guarded call asks of the core and of the store.
//   micro [--benchmark_filter=...]        BENCH_DIR: where the stores lie (a folder on a disk)
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <latch>

#include "bench/fixtures.h"
#include "store/sqlite.h"

using namespace ledger;
using namespace ledger::bench;

namespace {

void canonicalise(benchmark::State& state) {
  const FixedCall fixed(1);
  const IdentityRules rules;
  for (auto _ : state) benchmark::DoNotOptimize(canonical_body(fixed.call, rules));
}
BENCHMARK(canonicalise);

void fingerprint(benchmark::State& state) {
  const FixedCall fixed(1);
  const IdentityRules rules;
  for (auto _ : state)
    benchmark::DoNotOptimize(
        identify(fixed.call, rules, "charge_card", {}, "a secret of the store"));
}
BENCHMARK(fingerprint);

void decide_claim_and_settle(benchmark::State& state) {
  const Policy policy;
  const auto answer = answer_of_300_bytes();
  Identity who;
  for (auto _ : state) benchmark::DoNotOptimize(decide_call(who, policy, answer, 7));
}
BENCHMARK(decide_claim_and_settle);

// Gives all writes to the store at once and waits for them: what the store makes of a batch.
std::vector<Record> write_all(Store& store, std::vector<Replace> writes) {
  std::latch left(static_cast<std::ptrdiff_t>(writes.size()));
  std::vector<Record> stood(writes.size());
  for (std::size_t i = 0; i < writes.size(); ++i)
    store.replace(std::move(writes[i]), [&, i](auto result) {
      if (!result || !result->swapped) std::abort();
      if (result->found.record) stood[i] = std::move(*result->found.record);
      left.count_down();
    });
  left.wait();
  return stood;
}

// Claims and settles of `batch` calls, durable. The figure is a call's: time by the wall, CPU of
// all threads.
void store_batch(benchmark::State& state) {
  const char* parent = getenv("BENCH_DIR");
  std::string folder = std::string(parent != nullptr ? parent : ".") + "/micro-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return state.SkipWithError("no folder for the store");
  {
    auto store = SqliteStore::open(folder + "/ledger.db", {});
    if (!store) return state.SkipWithError(store.error().message.c_str());
    const auto batch = static_cast<std::size_t>(state.range(0));
    const Policy policy;
    const auto answer = answer_of_300_bytes();
    std::uint64_t number = 0;
    for (auto _ : state) {
      std::vector<Replace> claims(batch), settles(batch);
      for (auto& write : claims) {
        Identity who;
        who.id = who.fingerprint = id_of(++number);
        write.id = who.id;
        write.next = decide_call(who, policy, answer, 7).claimed;
        write.next->version = write.next->claim_version = write.next->generation = 0;
        write.add = {1, 1, 0, 0};
      }
      auto stood = write_all(**store, std::move(claims));
      for (std::size_t i = 0; i < batch; ++i) {
        auto settle =
            decide(&stood[i], policy, Settled{stood[i].claim_version, Answered{answer}}, noon);
        settles[i].id = stood[i].id;
        settles[i].expected_version = stood[i].version;
        settles[i].next = std::get<Commit>(std::move(settle)).next;
      }
      write_all(**store, std::move(settles));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
  }
  std::filesystem::remove_all(folder);
}
BENCHMARK(store_batch)->Arg(1)->Arg(9)->Arg(32)->Arg(128)->UseRealTime()->MeasureProcessCPUTime();

}  // namespace

BENCHMARK_MAIN();
