#include "guard/membership.h"

#include "guard/operate.h"

namespace ledger {
namespace {

constexpr std::size_t expired_a_round = 1000;

const Policy& policy_of(const Config& config, const Record& record) {
  for (const auto& route : config.routes)
    if (route.name == record.route) return route.policy;
  return config.defaults.once;
}

}  // namespace

tl::expected<void, StoreError> Membership::start() {
  if (auto joined = join(); !joined) return joined;
  settle_orphans();
  return {};
}

void Membership::beat() {
  renew();
  settle_orphans();
  // As long as there is a full round of expired records, there may be more.
  for (auto reaped = store_.reap(expired_a_round); reaped && *reaped == expired_a_round;)
    reaped = store_.reap(expired_a_round);
}

void Membership::leave() {
  const auto name = lease_.instance();
  lease_.lost();
  if (!name.empty()) store_.leave_instance(name);
}

tl::expected<void, StoreError> Membership::join() {
  const auto asked_at = time_since_boot();
  auto name = store_.join_instance();
  if (!name) return tl::unexpected(name.error());
  lease_.granted(std::move(*name), asked_at);
  return {};
}

// A lease that lapsed is never renewed: others may have acted on it. This process goes on under a
// new name, and what it had in flight is no longer its own (its late answers still settle, by
// version).
void Membership::renew() {
  const auto asked_at = time_since_boot();
  const auto name = lease_.instance();
  const auto renewed = store_.heartbeat(name);
  if (journal_ != nullptr) {
    journal_->tick();
    renewed ? journal_->store_works() : journal_->store_failed(renewed.error().message, false);
  }
  if (!renewed) return;  // the store does not answer: the lease runs out by itself
  if (*renewed) {
    lease_.granted(name, asked_at);
    return;
  }
  lease_.lost();
  if (journal_ != nullptr)
    journal_->say(
        "this proxy's lease in the store lapsed: for so long it stood still, or the store "
        "did not answer; what was being sent then is in doubt until its answer comes");
  store_.leave_instance(name);
  static_cast<void>(join());  // tried again at the next beat
}

void Membership::settle_orphans() {
  // Where the store does not answer, the next round finds them.
  static_cast<void>(ledger::settle_orphans(
      store_, [this](const Record& record) -> const Policy& { return policy_of(config_, record); },
      [this](const Record& doubted) {
        if (journal_ != nullptr) journal_->doubt(doubted);
      }));
}

}  // namespace ledger
