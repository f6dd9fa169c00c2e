// A store that fails when told to: wraps any other, for tests and the simulation.
//
// Faults are asked for by number: the first load() or replace() after construction is 1. Each fault
// strikes once. Everything else passes through.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "store/store.h"

namespace ledger {

enum class Fault : std::uint8_t {
  fail,          // an error; nothing was written
  lose_outcome,  // written, but the caller gets an error with `unknown`
  unknown,       // not written, and the caller gets an error with `unknown` all the same
  hold_before,   // nothing happens until release()
  hold_after,    // it happens at once, the caller hears of it on release()
};

class FaultyStore final : public Store {
 public:
  // `inner` outlives it.
  explicit FaultyStore(Store& inner) : inner_(inner) {}
  // What is held is released.
  ~FaultyStore() override;

  // --- the script; from any thread
  void on_replace(std::uint64_t number, Fault fault);
  // For a load, lose_outcome and unknown are as fail.
  void on_load(std::uint64_t number, Fault fault);
  // Every replace(), heartbeat and so on fails from now on (true), or works again: a dead disk.
  void fail_writes(bool failing);
  // Lets go of all that is held now, in order, on this thread; how many there were.
  std::size_t release();
  std::size_t held() const;
  std::uint64_t loads() const;  // how many there were so far
  std::uint64_t replaces() const;

  void load(const Digest& id, std::function<void(tl::expected<Found, StoreError>)> done) override;
  std::shared_ptr<const Found> recall(const Digest& id) override { return inner_.recall(id); }
  void replace(Replace write,
               std::function<void(tl::expected<Replaced, StoreError>)> done) override;
  void count(std::vector<CountDelta> deltas, std::function<void()> done) override;
  tl::expected<Page, StoreError> scan(const Query& query) override { return inner_.scan(query); }
  tl::expected<std::vector<RouteStats>, StoreError> stats() override { return inner_.stats(); }
  tl::expected<std::size_t, StoreError> reap(std::size_t limit) override;
  const std::string& secret() const override { return inner_.secret(); }
  Instant now() override { return inner_.now(); }
  tl::expected<std::string, StoreError> join_instance() override;
  tl::expected<bool, StoreError> heartbeat(const std::string& instance) override;
  void leave_instance(const std::string& instance) override { inner_.leave_instance(instance); }
  tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit) override {
    return inner_.orphans(limit);
  }
  tl::expected<void, StoreError> check_writable() override;

 private:
  using Script = std::map<std::uint64_t, Fault>;
  std::optional<Fault> next_fault(Script& script, std::uint64_t& number);
  void hold(std::function<void()> what);
  bool failing() const;

  // Constant after construction.
  Store& inner_;

  mutable std::mutex mutex_;  // guards what follows
  Script replace_faults_, load_faults_;
  std::uint64_t replaces_ = 0, loads_ = 0;
  std::vector<std::function<void()>> held_;
  bool failing_ = false;
};

}  // namespace ledger
