// This process as an instance in the store (guard/membership.h), on a thread of its own.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "guard/membership.h"

namespace ledger {

class Instance {
 public:
  // Joins at once. Error: one line.
  static tl::expected<std::unique_ptr<Instance>, std::string> start(const Config& config,
                                                                    Store& store, Lease& lease,
                                                                    Journal* journal = nullptr);
  ~Instance();  // leaves

 private:
  Instance(const Config& config, Store& store, Lease& lease, Journal* journal)
      : membership_(config, store, lease, journal) {}
  void run();

  Membership membership_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace ledger
