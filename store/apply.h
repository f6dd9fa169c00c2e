// What replace() means for the record it writes: the same for every store.
#pragma once

#include <cstddef>
#include <cstdint>

#include "store/store.h"

namespace ledger {

inline void add_to(Counts& counts, const Counts& more) {
  counts.attempts += more.attempts;
  counts.executed += more.executed;
  counts.replayed += more.replayed;
  counts.joined += more.joined;
  counts.unsent += more.unsent;
  counts.mismatched += more.mismatched;
}

// What the store adds to `Replace::next`.
struct Stamp {
  std::uint64_t version = 0, claim_version = 0, generation = 0;
  Counts counts;
};

// `version`: fresh from the store's counter. `stored`: the counts that stand now (zero: no record).
inline Stamp stamp_for(const Replace& write, std::uint64_t version, const Counts& stored) {
  const Record& next = *write.next;
  Stamp stamp{version, next.claim_version ? next.claim_version : version,
              next.generation ? next.generation : version, write.reset_counts ? Counts{} : stored};
  add_to(stamp.counts, write.add);
  if (write.unsent && stamp.counts.executed > 0) {
    --stamp.counts.executed;
    ++stamp.counts.unsent;
  }
  return stamp;
}

// The history entries that are kept start here.
inline std::size_t history_begin(const Record& record) {
  return record.history.size() > history_max ? record.history.size() - history_max : 0;
}

// Makes `next` the record as it stands after the swap.
inline void put_stamp(const Stamp& stamp, const Digest& id, Record& next) {
  next.id = id;
  next.version = stamp.version;
  next.claim_version = stamp.claim_version;
  next.generation = stamp.generation;
  next.counts = stamp.counts;
  next.history.erase(next.history.begin(),
                     next.history.begin() + static_cast<std::ptrdiff_t>(history_begin(next)));
}

}  // namespace ledger
