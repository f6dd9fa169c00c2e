#include "guard/operate.h"

#include <chrono>
#include <future>
#include <memory>

namespace ledger {
namespace {

constexpr std::size_t orphans_a_round = 1000;
constexpr std::chrono::milliseconds counts_patience{500};

// Starts what answers through a callback, and waits. The promise is shared: the waiter may be gone
// before set_value() has returned on the store's thread.
template <class Result, class Start>
Result waited(Start start) {
  auto promise = std::make_shared<std::promise<Result>>();
  auto result = promise->get_future();
  start([promise](Result r) { promise->set_value(std::move(r)); });
  return result.get();
}

}  // namespace

tl::expected<Found, StoreError> load_now(Store& store, const Digest& id) {
  return waited<tl::expected<Found, StoreError>>(
      [&](auto done) { store.load(id, std::move(done)); });
}

tl::expected<Replaced, StoreError> replace_now(Store& store, Replace write) {
  return waited<tl::expected<Replaced, StoreError>>(
      [&](auto done) { store.replace(std::move(write), std::move(done)); });
}

void await_counts(Store& store) {
  auto written = std::make_shared<std::promise<void>>();
  auto done = written->get_future();
  store.count({}, [written] { written->set_value(); });
  done.wait_for(counts_patience);
}

namespace {

tl::unexpected<OperateError> fail(OperateError::Kind kind, std::string message) {
  return tl::unexpected(OperateError{kind, std::move(message)});
}

tl::unexpected<OperateError> not_found() {
  return fail(OperateError::Kind::not_found,
              "There is no record with this id: it was never there, was deleted or has expired.");
}

// The record, in doubt already where its owner is lost and no proxy has found out yet.
MaybeRecord as_it_stands(const Found& found) {
  if (!owner_lost(*found.record, found.owner_alive, found.now)) return found.record;
  auto decision = decide(found.record.get(), Policy(), OwnerLost{}, found.now);
  return std::move(std::get<Commit>(decision).next);
}

// Loads, lets `change` say what to write, and compares and swaps until nobody came between.
template <class Change>
tl::expected<Record, OperateError> operate(Store& store, const Digest& id, Change change) {
  auto loaded = load_now(store, id);
  if (!loaded) return fail(OperateError::Kind::store, loaded.error().message);
  Found found = std::move(*loaded);
  for (;;) {
    if (!found.record) return not_found();
    tl::expected<MaybeRecord, OperateError> next = change(found);
    if (!next) return tl::unexpected(next.error());
    Replace write;
    write.id = id;
    write.expected_version = found.record->version;
    write.next = std::move(*next);
    const bool deletes = !write.next;
    auto replaced = replace_now(store, std::move(write));
    if (!replaced) return fail(OperateError::Kind::store, replaced.error().message);
    if (replaced->swapped)
      return deletes ? std::move(*found.record) : std::move(*replaced->found.record);
    found = std::move(replaced->found);
  }
}

}  // namespace

tl::expected<Record, OperateError> resolve_record(Store& store, const Digest& id,
                                                  const Resolved& resolved) {
  return operate(store, id, [&](const Found& found) -> tl::expected<MaybeRecord, OperateError> {
    const auto record = as_it_stands(found);
    auto decision = decide(record.get(), Policy(), resolved, found.now);
    if (auto* commit = std::get_if<Commit>(&decision)) return std::move(commit->next);
    return fail(OperateError::Kind::conflict, "The record is " +
                                                  std::string(to_string(record->state)) +
                                                  ", not in_doubt: there is nothing to settle.");
  });
}

tl::expected<Record, OperateError> delete_record(Store& store, const Digest& id) {
  return operate(store, id, [&](const Found& found) -> tl::expected<MaybeRecord, OperateError> {
    if (as_it_stands(found)->state == State::in_flight)
      return fail(
          OperateError::Kind::conflict,
          "The record is in flight: its call is running, and is not forgotten before it ends.");
    return MaybeRecord();
  });
}

tl::expected<void, StoreError> settle_orphans(
    Store& store, const std::function<const Policy&(const Record&)>& policy_of,
    const std::function<void(const Record&)>& doubted) {
  const auto orphans = store.orphans(orphans_a_round);
  if (!orphans) return tl::unexpected(orphans.error());
  for (const auto& record : *orphans) {
    auto decision = decide(&record, policy_of(record), OwnerLost{}, store.now());
    auto* commit = std::get_if<Commit>(&decision);
    if (!commit) continue;
    Replace write;
    write.id = record.id;
    write.expected_version = record.version;
    write.next = std::move(commit->next);
    // Lost to somebody else, or tried again later.
    const auto written = replace_now(store, std::move(write));
    if (doubted && written && written->swapped && written->found.record)
      doubted(*written->found.record);
  }
  return {};
}

}  // namespace ledger
