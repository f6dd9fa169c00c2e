#include "store/sqlite_replace.h"

namespace ledger::sqlite {

void ReplaceJob::run(Transaction& transaction) {
  swapped_ = swap(transaction);
  if (swapped_) {
    found_ = Found{std::nullopt, transaction.now, false};
  } else {
    mark_ = cache_.mark(write_.id);
    found_ = find_there(transaction.tables, transaction.locks, write_.id, transaction.now);
  }
}

bool ReplaceJob::swap(Transaction& transaction) {
  Tables& tables = transaction.tables;
  // A first call's way: one statement, no look beforehand.
  if (write_.next && write_.expected_version == 0) {
    stamp_ = stamp_for(write_, transaction.version + 1, {});
    if (!tables.insert(write_.id, *write_.next, stamp_)) return false;
    transaction.next_version();
    return true;
  }
  const auto place = tables.locate(write_.id);
  if ((place ? place->version : 0) != write_.expected_version) return false;
  if (!place) return true;  // to be deleted, and not there
  // Only what was completed is remembered anywhere.
  if (place->state == State::completed) transaction.changes.push_back(write_.id);
  if (write_.next) {
    stamp_ = stamp_for(write_, transaction.next_version(), place->counts);
    tables.update(place->seq, write_.id, *write_.next, stamp_);
  } else {
    tables.remove(place->seq);
  }
  return true;
}

void ReplaceJob::finish(const StoreError* error) {
  if (error) return done_(tl::unexpected(*error));
  (swapped_ ? metrics_.swaps : metrics_.conflicts).fetch_add(1, std::memory_order_relaxed);
  if (swapped_ && write_.next) {
    put_stamp(stamp_, write_.id, *write_.next);
    found_.record = std::move(write_.next);
  }
  if (!swapped_) cache_.put(write_.id, mark_, found_);
  // A claim that was just made is its caller's, who is alive.
  if (swapped_) found_.owner_alive = found_.record && found_.record->state == State::in_flight;
  done_(Replaced{swapped_, std::move(found_)});
}

std::size_t ReplaceJob::weight() const {
  std::size_t bytes = 512;
  if (write_.next && write_.next->answer) bytes += write_.next->answer->body.size();
  if (write_.next && write_.next->request) bytes += write_.next->request->body.size();
  return bytes;
}

}  // namespace ledger::sqlite
