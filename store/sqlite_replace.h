// replace() as a job of the writer: one compare-and-swap.
#pragma once

#include <functional>

#include "store/record_cache.h"
#include "store/sqlite_writer.h"

namespace ledger::sqlite {

class ReplaceJob final : public Job {
 public:
  using Done = std::function<void(tl::expected<Replaced, StoreError>)>;
  ReplaceJob(Replace write, Done done, StoreMetrics& metrics, RecordCache& cache)
      : write_(std::move(write)), done_(std::move(done)), metrics_(metrics), cache_(cache) {}

  void run(Transaction& transaction) override;
  void finish(const StoreError* error) override;
  std::size_t weight() const override;

 private:
  bool swap(Transaction& transaction);

  Replace write_;
  Done done_;
  StoreMetrics& metrics_;
  RecordCache& cache_;
  // Of the latest run().
  bool swapped_ = false;
  Stamp stamp_;
  Found found_;
  std::uint64_t mark_ = 0;  // under which it was read
};

}  // namespace ledger::sqlite
