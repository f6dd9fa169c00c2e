// Where records live. A store compares and swaps; it decides nothing (that is guard/decide.h).
// Every backend passes tests/store_contract.h. docs/store.md shows how to add one.
//
// Threads: every function may be called from any thread. load() and replace() return at once and
// answer through `done`, exactly once, on a thread of the store's own (or, for a store without one,
// the caller's) -- `done` must not block. The others block and are for admin, command line and
// background work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "store/record.h"

namespace ledger {

// Why the store could not do it. Nothing was written, unless `unknown`: then it may have been.
struct StoreError {
  std::string message;  // one sentence for a person: what failed and what to do
  bool unknown =
      false;  // a commit whose outcome is not known: the store must not be trusted with it
};

// What a key's place holds, read in one transaction together with the store's clock.
struct Found {
  MaybeRecord record;  // counts as stored; expired records too (the caller judges by `now`)
  Instant now{};
  // Of an in_flight record: its instance's lease stands (and its OS lock). Of one that this very
  // replace() claimed: true.
  bool owner_alive = false;
};

struct Replace {
  Digest id{};
  std::uint64_t expected_version = 0;  // 0: must not exist
  // What to put there; nullopt deletes. version is assigned by the store; claim_version and
  // generation too where they are 0. `counts` and `version` of `next` are not written: counts move
  // by `add` alone, from what is stored (or, with `reset_counts`, from zero).
  MaybeRecord next;
  Counts add;
  bool reset_counts = false;
  // Of the execution that the claim counted no byte left: one executed becomes unsent.
  bool unsent = false;
};

struct Replaced {
  bool swapped = false;
  Found found;  // swapped: the record as it now stands. Otherwise: what is there instead, nothing
                // written
};

struct CountDelta {
  Digest id{};
  Counts add;
};

struct Query {
  std::optional<State> state;
  std::optional<std::string> route, agent;  // exact; an empty route: calls that no route named
  std::size_t limit = 100;
  std::uint64_t cursor = 0;         // 0: from the newest; else Page::next of the page before
  std::uint64_t changed_since = 0;  // only records whose version is greater (tail); 0: all
};
struct Page {
  std::vector<Record> records;  // newest first; answers without bodies, no stored requests
  std::uint64_t next = 0;       // 0: no more
  // The store's version counter when this page was read. A tail follows `next` to the end, then
  // asks for what changed since the *first* page's version, so that it misses nothing.
  std::uint64_t version = 0;
};

struct RouteStats {
  std::string route;
  Counts counts;
  std::uint64_t records = 0, in_flight = 0, completed = 0, released = 0, in_doubt = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  virtual void load(const Digest& id,
                    std::function<void(tl::expected<Found, StoreError>)> done) = 0;

  // A completed record that this process remembers, if it stands right now: no process has changed
  // or deleted it since. Never waits and does no I/O. Its counts (and `now`) are of when it was
  // read. nullptr: ask load() or replace().
  virtual std::shared_ptr<const Found> recall(const Digest& id) = 0;

  // Compare and swap, durable (as the store's durability says) before `done`. A conflict is not an
  // error: Replaced tells what is there, with `now` and `owner_alive` of that same transaction.
  virtual void replace(Replace write,
                       std::function<void(tl::expected<Replaced, StoreError>)> done) = 0;

  // Adds to the counts of records that still exist; they change neither version nor updated_at.
  // Returns at once, written behind: a crash may lose the last second. A later replace() that
  // resets or deletes does so after them. `done` may be empty.
  virtual void count(std::vector<CountDelta> deltas, std::function<void()> done) = 0;

  virtual tl::expected<Page, StoreError> scan(const Query& query) = 0;
  virtual tl::expected<std::vector<RouteStats>, StoreError> stats() = 0;

  // Deletes up to `limit` records that had expired (never an in_flight one); how many it deleted.
  virtual tl::expected<std::size_t, StoreError> reap(std::size_t limit) = 0;

  // HMAC key of this store, made with its schema: the same for every instance and restart.
  virtual const std::string& secret() const = 0;
  virtual Instant now() = 0;

  // --- the instance: one running proxy -------------------------------------------------------
  // Registers a new instance and its lease (10 s) and takes its OS lock where there is one. Its
  // name becomes Record::owner of what it claims. A store opened only to look inside never calls
  // this.
  virtual tl::expected<std::string, StoreError> join_instance() = 0;
  // Renews the lease. False: it had lapsed; a lapsed lease is never renewed (others may have acted
  // on it), so the caller must join anew, and what it had in flight is no longer its own.
  virtual tl::expected<bool, StoreError> heartbeat(const std::string& instance) = 0;
  virtual void leave_instance(const std::string& instance) = 0;
  // Moves nothing: the in_flight records whose owner is dead or whose ownerless_at has passed, at
  // most `limit`. The caller decides OwnerLost for each.
  virtual tl::expected<std::vector<Record>, StoreError> orphans(std::size_t limit) = 0;

  // Can it be written now? (readyz) An error says why not.
  virtual tl::expected<void, StoreError> check_writable() = 0;
};

constexpr std::chrono::seconds lease_duration{10};

// `memory:`, `sqlite:PATH`, or a bare PATH (sqlite). `create`: false refuses a file that is not
// there or is no ledger store. Errors name the file and what to do. `notices` gets a line for each
// file that others could read until now.
tl::expected<std::unique_ptr<Store>, StoreError> open_store(
    const std::string& url, bool full_durability, bool create,
    std::vector<std::string>* notices = nullptr);

}  // namespace ledger
