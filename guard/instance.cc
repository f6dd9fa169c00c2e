#include "guard/instance.h"

namespace ledger {

tl::expected<std::unique_ptr<Instance>, std::string> Instance::start(const Config& config,
                                                                     Store& store, Lease& lease,
                                                                     Journal* journal) {
  std::unique_ptr<Instance> instance(new Instance(config, store, lease, journal));
  if (auto joined = instance->membership_.start(); !joined)
    return tl::unexpected(joined.error().message);
  instance->thread_ = std::thread([raw = instance.get()] { raw->run(); });
  return instance;
}

Instance::~Instance() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  membership_.leave();
}

void Instance::run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, heartbeat_interval, [this] { return stopping_; })) {
    lock.unlock();
    membership_.beat();
    lock.lock();
  }
}

}  // namespace ledger
