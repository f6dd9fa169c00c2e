#include "store/memory.h"

#include <openssl/rand.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

#include "store/apply.h"

namespace ledger {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(Clock clock) : clock_(std::move(clock)), secret_(32, '\0') {
    RAND_bytes(reinterpret_cast<unsigned char*>(secret_.data()), static_cast<int>(secret_.size()));
  }

  void load(const Digest& id, std::function<void(tl::expected<Found, StoreError>)> done) override {
    Found found;
    {
      std::lock_guard guard(mutex_);
      found = find(id);
    }
    done(std::move(found));
  }

  std::shared_ptr<const Found> recall(const Digest& id) override {
    std::lock_guard guard(mutex_);
    const auto at = places_.find(id);
    if (at == places_.end() || at->second.record.state != State::completed) return nullptr;
    return std::make_shared<const Found>(find(id));
  }

  void replace(Replace write,
               std::function<void(tl::expected<Replaced, StoreError>)> done) override {
    Replaced replaced;
    {
      std::lock_guard guard(mutex_);
      replaced = swap(write);
    }
    done(std::move(replaced));
  }

  void count(std::vector<CountDelta> deltas, std::function<void()> done) override {
    {
      std::lock_guard guard(mutex_);
      for (const auto& delta : deltas)
        if (auto at = places_.find(delta.id); at != places_.end())
          add_to(at->second.record.counts, delta.add);
    }
    if (done) done();
  }

  tl::expected<Page, StoreError> scan(const Query& query) override;
  tl::expected<std::vector<RouteStats>, StoreError> stats() override;
  tl::expected<std::size_t, StoreError> reap(std::size_t limit) override;
  const std::string& secret() const override { return secret_; }
  Instant now() override { return clock_(); }

  tl::expected<std::string, StoreError> join_instance() override {
    std::lock_guard guard(mutex_);
    auto name = "memory-" + std::to_string(++version_);
    leases_[name] = clock_() + lease_duration;
    return name;
  }

  tl::expected<bool, StoreError> heartbeat(const std::string& instance) override {
    std::lock_guard guard(mutex_);
    const auto now = clock_();
    if (!is_alive(instance, now)) {
      leases_.erase(instance);  // over for good, even if the clock should step back
      return false;
    }
    leases_[instance] = now + lease_duration;
    return true;
  }

  void leave_instance(const std::string& instance) override {
    std::lock_guard guard(mutex_);
    leases_.erase(instance);
  }

  tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit) override {
    std::lock_guard guard(mutex_);
    const auto now = clock_();
    std::vector<Record> lost;
    for (auto seq : in_flight_) {
      if (lost.size() >= limit) break;
      const auto& record = places_.at(order_.at(seq)).record;
      if (record.ownerless_at <= now || !is_alive(record.owner, now)) lost.push_back(record);
    }
    return lost;
  }

  tl::expected<void, StoreError> check_writable() override { return {}; }

 private:
  struct Place {
    std::uint64_t seq = 0;  // the version under which the record was created
    Record record;
  };

  // --- with mutex_ held
  bool is_alive(const std::string& instance, Instant now) const {
    const auto lease = leases_.find(instance);
    return lease != leases_.end() && lease->second > now;
  }
  Found find(const Digest& id) const;
  Replaced swap(Replace& write);
  void put(const Digest& id, std::uint64_t seq, Record record);
  void remove(const Digest& id);

  // Constant after construction.
  const Clock clock_;
  std::string secret_;

  std::mutex mutex_;  // guards what follows
  std::uint64_t version_ = 0;
  std::unordered_map<Digest, Place> places_;
  std::map<std::uint64_t, Digest> order_;               // by seq
  std::set<std::uint64_t> in_flight_;                   // seq
  std::set<std::pair<Instant, std::uint64_t>> expiry_;  // expires_at, seq
  std::unordered_map<std::string, Instant> leases_;
};

Found MemoryStore::find(const Digest& id) const {
  Found found{std::nullopt, clock_(), false};
  if (const auto at = places_.find(id); at != places_.end()) {
    found.record = at->second.record;
    found.owner_alive =
        found.record->state == State::in_flight && is_alive(found.record->owner, found.now);
  }
  return found;
}

Replaced MemoryStore::swap(Replace& write) {
  const auto at = places_.find(write.id);
  const bool exists = at != places_.end();
  if ((exists ? at->second.record.version : 0) != write.expected_version)
    return {false, find(write.id)};

  Replaced replaced{true, {std::nullopt, clock_(), false}};
  if (write.next) {
    const auto stored = exists ? at->second.record.counts : Counts{};
    const auto seq = exists ? at->second.seq : version_ + 1;
    const auto stamp = stamp_for(write, ++version_, stored);
    put_stamp(stamp, write.id, *write.next);
    put(write.id, seq, *write.next);
    replaced.found.record = std::move(write.next);
    replaced.found.owner_alive = replaced.found.record->state == State::in_flight;
  } else {
    remove(write.id);
  }
  return replaced;
}

void MemoryStore::put(const Digest& id, std::uint64_t seq, Record record) {
  remove(id);
  order_[seq] = id;
  if (record.state == State::in_flight) in_flight_.insert(seq);
  if (record.expires_at) expiry_.insert({*record.expires_at, seq});
  places_[id] = Place{seq, std::move(record)};
}

void MemoryStore::remove(const Digest& id) {
  const auto at = places_.find(id);
  if (at == places_.end()) return;
  const auto& [seq, record] = at->second;
  order_.erase(seq);
  in_flight_.erase(seq);
  if (record.expires_at) expiry_.erase({*record.expires_at, seq});
  places_.erase(at);
}

bool matches(const Record& record, const Query& query) {
  return (!query.state || record.state == *query.state) &&
         (!query.route || record.route == *query.route) &&
         (!query.agent || record.agent == *query.agent) && record.version > query.changed_since;
}

// As a scan gives it: the answer's head, no stored request.
Record without_bodies(Record record) {
  if (record.answer) {
    Answer head = *record.answer;
    head.body.clear();
    record.answer = std::make_shared<const Answer>(std::move(head));
  }
  record.request = nullptr;
  return record;
}

tl::expected<Page, StoreError> MemoryStore::scan(const Query& query) {
  std::lock_guard guard(mutex_);
  Page page;
  page.version = version_;
  std::uint64_t last = 0;
  auto from = query.cursor ? order_.lower_bound(query.cursor) : order_.end();
  for (auto at = std::make_reverse_iterator(from); at != order_.rend() && query.limit; ++at) {
    const auto& record = places_.at(at->second).record;
    if (!matches(record, query)) continue;
    if (page.records.size() == query.limit) {
      page.next = last;
      break;
    }
    last = at->first;
    page.records.push_back(without_bodies(record));
  }
  return page;
}

tl::expected<std::vector<RouteStats>, StoreError> MemoryStore::stats() {
  std::lock_guard guard(mutex_);
  std::map<std::string, RouteStats> routes;
  for (const auto& [id, place] : places_) {
    auto& route = routes[place.record.route];
    add_to(route.counts, place.record.counts);
    ++route.records;
    switch (place.record.state) {
      case State::in_flight:
        ++route.in_flight;
        break;
      case State::completed:
        ++route.completed;
        break;
      case State::released:
        ++route.released;
        break;
      case State::in_doubt:
        ++route.in_doubt;
        break;
    }
  }
  std::vector<RouteStats> all;
  for (auto& [name, route] : routes) {
    route.route = name;
    all.push_back(std::move(route));
  }
  return all;
}

tl::expected<std::size_t, StoreError> MemoryStore::reap(std::size_t limit) {
  std::lock_guard guard(mutex_);
  const auto now = clock_();
  std::size_t reaped = 0;
  for (auto at = expiry_.begin(); at != expiry_.end() && at->first <= now && reaped < limit;) {
    const auto id = order_.at((at++)->second);
    if (places_.at(id).record.state == State::in_flight) continue;
    remove(id);
    ++reaped;
  }
  return reaped;
}

}  // namespace

std::unique_ptr<Store> make_memory_store(Clock clock) {
  return std::make_unique<MemoryStore>(std::move(clock));
}

}  // namespace ledger
