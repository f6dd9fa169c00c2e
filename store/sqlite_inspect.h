// What looks at many records: scan, stats, orphans. On a connection of its own, so that a long look
// delays neither claims nor loads. Blocks; one look at a time.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "store/clock.h"
#include "store/owner_locks.h"
#include "store/sqlite_tables.h"
#include "store/store.h"

namespace ledger::sqlite {

class Inspector {
 public:
  // The references outlive the inspector.
  Inspector(Session session, const std::string& path, const Clock& clock, const OwnerLocks& locks)
      : path_(path), clock_(clock), locks_(locks), session_(std::move(session)) {}

  tl::expected<Page, StoreError> scan(const Query& query);
  tl::expected<std::vector<RouteStats>, StoreError> stats();
  tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit);

 private:
  // Runs `look` in one read transaction and gives its result, or the error.
  template <class Result, class Look>
  tl::expected<Result, StoreError> read(Look look);

  // Constant after construction.
  const std::string& path_;
  const Clock& clock_;
  const OwnerLocks& locks_;

  std::mutex mutex_;  // guards what follows
  Session session_;
};

}  // namespace ledger::sqlite
