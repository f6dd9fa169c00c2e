// This process as an instance in the store: joins, keeps its lease alive, and looks after what dead
// owners and time have left behind. One thread of its own.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "config/config.h"
#include "guard/lease.h"
#include "store/store.h"

namespace ledger {

class Instance {
 public:
  // Joins at once and settles what dead owners left in flight (it becomes in doubt). Error: one
  // line.
  static tl::expected<std::unique_ptr<Instance>, std::string> start(const Config& config,
                                                                    Store& store, Lease& lease);
  ~Instance();  // leaves

 private:
  Instance(const Config& config, Store& store, Lease& lease);
  tl::expected<void, StoreError> join();
  void run();
  void beat();
  void settle_orphans();

  const Config& config_;
  Store& store_;
  Lease& lease_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace ledger
