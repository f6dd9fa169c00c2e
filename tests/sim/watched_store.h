// Tells the auditor of every write to the store that all instances share.
#pragma once

#include <functional>

#include "store/store.h"

namespace ledger::sim {

class WatchedStore final : public Store {
 public:
  using OnWritten = std::function<void(const Digest& id, const MaybeRecord& record)>;
  WatchedStore(Store& inner, OnWritten on_written)
      : inner_(inner), on_written_(std::move(on_written)) {}
  void stop_watching() { on_written_ = nullptr; }

  void load(const Digest& id, std::function<void(tl::expected<Found, StoreError>)> done) override {
    inner_.load(id, std::move(done));
  }
  // Every second time, so that both ways are walked.
  std::shared_ptr<const Found> recall(const Digest& id) override {
    return ++recalls_ % 2 == 0 ? inner_.recall(id) : nullptr;
  }
  void replace(Replace write,
               std::function<void(tl::expected<Replaced, StoreError>)> done) override {
    const auto id = write.id;
    inner_.replace(std::move(write), [&, this](tl::expected<Replaced, StoreError> result) {
      if (result && result->swapped && on_written_) on_written_(id, result->found.record);
      done(std::move(result));
    });
  }
  void count(std::vector<CountDelta> deltas, std::function<void()> done) override {
    inner_.count(std::move(deltas), std::move(done));
  }
  tl::expected<Page, StoreError> scan(const Query& query) override { return inner_.scan(query); }
  tl::expected<std::vector<RouteStats>, StoreError> stats() override { return inner_.stats(); }
  tl::expected<std::size_t, StoreError> reap(std::size_t limit) override {
    return inner_.reap(limit);
  }
  const std::string& secret() const override { return inner_.secret(); }
  Instant now() override { return inner_.now(); }
  tl::expected<std::string, StoreError> join_instance() override { return inner_.join_instance(); }
  tl::expected<bool, StoreError> heartbeat(const std::string& instance) override {
    return inner_.heartbeat(instance);
  }
  void leave_instance(const std::string& instance) override { inner_.leave_instance(instance); }
  tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit) override {
    return inner_.orphans(limit);
  }
  tl::expected<void, StoreError> check_writable() override { return inner_.check_writable(); }

 private:
  Store& inner_;
  OnWritten on_written_;
  std::uint64_t recalls_ = 0;
};

}  // namespace ledger::sim
