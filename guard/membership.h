// This process as an instance in the store, without a thread: what it does when it starts, every
// heartbeat_interval, and when it leaves. guard/instance.h runs it. Blocking; one thread at a time.
#pragma once

#include <chrono>
#include <tl/expected.hpp>

#include "config/config.h"
#include "guard/journal.h"
#include "guard/lease.h"
#include "store/store.h"

namespace ledger {

constexpr std::chrono::seconds heartbeat_interval{2};

class Membership {
 public:
  // All of them outlive it.
  // `journal` may be null.
  Membership(const Config& config, Store& store, Lease& lease, Journal* journal = nullptr)
      : config_(config), store_(store), lease_(lease), journal_(journal) {}

  // Joins and settles what dead owners left in flight (it becomes in doubt).
  tl::expected<void, StoreError> start();
  // Keeps the lease alive, and looks after what dead owners and time have left behind.
  void beat();
  void leave();

 private:
  tl::expected<void, StoreError> join();
  void renew();
  void settle_orphans();

  const Config& config_;
  Store& store_;
  Lease& lease_;
  Journal* journal_;
};

}  // namespace ledger
