#include "store/sqlite_reader.h"

namespace ledger::sqlite {
namespace {

// Loads that share a read transaction. Small: each may hold an answer of megabytes, and a long read
// keeps the write-ahead log from beginning anew.
constexpr std::size_t batch_loads = 32;

}  // namespace

Reader::Reader(Session session, const std::string& path, const Clock& clock,
               const OwnerLocks& locks, StoreMetrics& metrics)
    : path_(path),
      clock_(clock),
      locks_(locks),
      metrics_(metrics),
      session_(std::move(session)),
      thread_([this] { loop(); }) {}

Reader::~Reader() { stop(); }

void Reader::load(const Digest& id, Done done) {
  {
    std::lock_guard guard(mutex_);
    if (!stopping_) {
      queue_.push_back({id, std::move(done)});
      wake_.notify_one();
      return;
    }
  }
  done(tl::unexpected(StoreError{"the store is closing", false}));
}

void Reader::stop() {
  {
    std::lock_guard guard(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void Reader::loop() {
  std::vector<Load> loads;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !queue_.empty() || stopping_; });
      if (queue_.empty()) return;
      while (!queue_.empty() && loads.size() < batch_loads) {
        loads.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    serve(loads);
    loads.clear();
  }
}

void Reader::serve(std::vector<Load>& loads) {
  std::vector<Found> found;
  found.reserve(loads.size());
  session_.tables->begin_read();
  session_.tables->version();  // the first read takes the snapshot: `now` must not be older
  const auto now = clock_();
  for (const auto& load : loads)
    found.push_back(find_there(*session_.tables, locks_, load.id, now));
  session_.tables->commit();
  metrics_.loads.fetch_add(loads.size(), std::memory_order_relaxed);

  const auto error = session_.db->take_error();
  if (error) session_.db->rollback();
  for (std::size_t i = 0; i < loads.size(); ++i) {
    if (error) {
      loads[i].done(tl::unexpected(StoreError{words_for(*error, path_), false}));
    } else {
      loads[i].done(std::move(found[i]));
    }
  }
}

}  // namespace ledger::sqlite
