#include "store/faulty.h"

#include <utility>

namespace ledger {
namespace {

tl::unexpected<StoreError> failed(bool unknown = false) {
  return tl::unexpected(StoreError{"the store failed, as the test asked", unknown});
}

}  // namespace

FaultyStore::~FaultyStore() { release(); }

// --- the script --------------------------------------------------------------------------------

void FaultyStore::on_replace(std::uint64_t number, Fault fault) {
  std::lock_guard guard(mutex_);
  replace_faults_[number] = fault;
}

void FaultyStore::on_load(std::uint64_t number, Fault fault) {
  std::lock_guard guard(mutex_);
  load_faults_[number] = fault;
}

void FaultyStore::fail_writes(bool failing) {
  std::lock_guard guard(mutex_);
  failing_ = failing;
}

std::size_t FaultyStore::release() {
  std::vector<std::function<void()>> held;
  {
    std::lock_guard guard(mutex_);
    held.swap(held_);
  }
  for (const auto& each : held) each();
  return held.size();
}

std::size_t FaultyStore::held() const {
  std::lock_guard guard(mutex_);
  return held_.size();
}

std::uint64_t FaultyStore::loads() const {
  std::lock_guard guard(mutex_);
  return loads_;
}

std::uint64_t FaultyStore::replaces() const {
  std::lock_guard guard(mutex_);
  return replaces_;
}

std::optional<Fault> FaultyStore::next_fault(Script& script, std::uint64_t& number) {
  std::lock_guard guard(mutex_);
  const auto fault = script.extract(++number);
  if (fault) return fault.mapped();
  return std::nullopt;
}

void FaultyStore::hold(std::function<void()> what) {
  std::lock_guard guard(mutex_);
  held_.push_back(std::move(what));
}

bool FaultyStore::failing() const {
  std::lock_guard guard(mutex_);
  return failing_;
}

// --- what can fail -----------------------------------------------------------------------------

void FaultyStore::load(const Digest& id,
                       std::function<void(tl::expected<Found, StoreError>)> done) {
  const auto fault = next_fault(load_faults_, loads_);
  if (!fault) return inner_.load(id, std::move(done));
  switch (*fault) {
    case Fault::hold_before:
      return hold([this, id, done = std::move(done)] { inner_.load(id, done); });
    case Fault::hold_after:
      return inner_.load(id, [this, done = std::move(done)](auto result) {
        hold([done, result = std::move(result)] { done(result); });
      });
    case Fault::fail:
    case Fault::lose_outcome:
    case Fault::unknown:
      return done(failed());
  }
}

void FaultyStore::replace(Replace write,
                          std::function<void(tl::expected<Replaced, StoreError>)> done) {
  const auto fault = next_fault(replace_faults_, replaces_);
  if (failing()) return done(failed());
  if (!fault) return inner_.replace(std::move(write), std::move(done));
  switch (*fault) {
    case Fault::fail:
      return done(failed());
    case Fault::unknown:
      return done(failed(true));
    case Fault::lose_outcome:
      return inner_.replace(std::move(write),
                            [done = std::move(done)](auto) { done(failed(true)); });
    case Fault::hold_before:
      return hold([this, write = std::move(write), done = std::move(done)] {
        inner_.replace(write, done);
      });
    case Fault::hold_after:
      return inner_.replace(std::move(write), [this, done = std::move(done)](auto result) {
        hold([done, result = std::move(result)] { done(result); });
      });
  }
}

void FaultyStore::count(std::vector<CountDelta> deltas, std::function<void()> done) {
  if (!failing()) return inner_.count(std::move(deltas), std::move(done));
  if (done) done();  // written behind: no one hears of a failure
}

tl::expected<std::size_t, StoreError> FaultyStore::reap(std::size_t limit) {
  if (failing()) return failed();
  return inner_.reap(limit);
}

tl::expected<std::string, StoreError> FaultyStore::join_instance() {
  if (failing()) return failed();
  return inner_.join_instance();
}

tl::expected<bool, StoreError> FaultyStore::heartbeat(const std::string& instance) {
  if (failing()) return failed();
  return inner_.heartbeat(instance);
}

tl::expected<void, StoreError> FaultyStore::check_writable() {
  if (failing()) return failed();
  return inner_.check_writable();
}

}  // namespace ledger
