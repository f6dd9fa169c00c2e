// The stored memory of one key. Core: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fingerprint/identity.h"

namespace ledger {

// UTC, on the store's clock.
using Instant = std::chrono::sys_time<std::chrono::milliseconds>;

enum class State : std::uint8_t { in_flight, completed, released, in_doubt };
std::string_view to_string(State state);
std::optional<State> state_from(std::string_view text);

using Headers = std::vector<std::pair<std::string, std::string>>;  // as received, in order

// An upstream's complete answer. Shared and immutable once made.
struct Answer {
  int status = 0;
  std::string reason;
  Headers headers;          // end-to-end only; Set-Cookie included (left out when it is replayed)
  std::string body;         // de-chunked, Content-Encoding as received
  bool body_stored = true;  // false: longer than response_max, or settled by a person without one
  Instant received_at{};
};
using AnswerPtr = std::shared_ptr<const Answer>;

// On probe routes alone only `probe` is set. What is sent again by `in_doubt: retry`: stored with
// the claim on upstream_key routes.
struct StoredRequest {
  std::string
      target;  // the upstream's absolute URL as first sent, so that a retry is byte-identical
  std::string content_type;  // empty: none
  std::string content_encoding;
  std::string body;
  std::string probe;  // the URL that tells whether the call happened; empty: none
};
using StoredRequestPtr = std::shared_ptr<const StoredRequest>;

// How often the key was asked for, and what came of it. An execution counts as executed from its
// claim on; one of which no byte left becomes unsent once that is known.
struct Counts {
  std::uint64_t attempts = 0, executed = 0, replayed = 0, joined = 0;
  std::uint64_t unsent = 0;
  std::uint64_t mismatched = 0;  // other calls under the same explicit key: no attempts of this one
  std::uint64_t blocked() const {
    const auto sendings = executed + unsent;
    return attempts > sendings ? attempts - sendings : 0;
  }
};

constexpr std::size_t history_max = 32;  // entries kept, the latest
struct HistoryEntry {
  Instant at;
  std::string event;  // "claimed", "completed", "released", "in_doubt", "resolved", "owner_lost"
  std::string
      detail;  // one short phrase, such as "status 200" or "time-out after 80 s"; may be empty
};

struct Record {
  Digest id{};
  State state = State::in_flight;
  // Changes with every replace(). From a counter of the whole store, never reused: the fence.
  std::uint64_t version = 0;
  // The version of the claim that started the present execution. 0 in a `next`: the store writes
  // the version it assigns. A late answer settles only while this is still its own.
  std::uint64_t claim_version = 0;
  // Names the execution's generation; enters the upstream key. 0 in a `next`: as above, so that a
  // fresh execution never shares a generation with an earlier one, even after a delete.
  std::uint64_t generation = 0;

  std::string route;  // empty: no route named the call
  std::string method, url;
  std::string agent, run;  // of the first caller
  // What people see of the call: the route's `label:` as it read for it, and the text of an
  // explicit key (empty where the fingerprint is the key). Cut to label_max and key_text_max bytes.
  std::string label, key_text;
  std::uint64_t scope = 0;  // whose call it is: Identity::scope
  Digest fingerprint{};
  KeySource key_source = KeySource::fingerprint;

  Counts counts;
  std::uint32_t effects = 0;  // executions that may have had an effect; what `max` counts
  // An earlier send of this generation may have had an effect: a later rejected or unsent retry
  // leaves the record in doubt.
  bool tainted = false;

  std::string owner;  // instance of the present or last execution
  Instant created_at{}, updated_at{};
  std::optional<Instant> expires_at;  // nullopt: never
  // How long it is kept once completed or released, by the policy of its claim (so that a person
  // who settles it later needs no configuration); nullopt: forever.
  std::optional<std::chrono::milliseconds> ttl;
  Instant first_sent_at{};  // of this generation; upstream_key_ttl runs from it
  Instant ownerless_at{};   // in_flight: claim + timeout + 30 s
  // in_doubt: when the sending connection was surely closed; nullopt: it may be open still.
  std::optional<Instant> closed_at;

  AnswerPtr answer;                   // the latest; null: none
  StoredRequestPtr request;           // null: none
  std::vector<HistoryEntry> history;  // oldest first

  bool expired(Instant now) const { return expires_at && *expires_at <= now; }
};

// A record, or none. It is on the heap, so that queues, callbacks and coroutine frames hand on a
// pointer; a copy copies the record.
class MaybeRecord {
 public:
  MaybeRecord() = default;
  MaybeRecord(std::nullopt_t) {}
  MaybeRecord(Record record) : record_(std::make_unique<Record>(std::move(record))) {}
  MaybeRecord(const MaybeRecord& other)
      : record_(other ? std::make_unique<Record>(*other) : nullptr) {}
  MaybeRecord(MaybeRecord&&) noexcept = default;
  MaybeRecord& operator=(MaybeRecord other) noexcept {
    record_ = std::move(other.record_);
    return *this;
  }

  explicit operator bool() const { return record_ != nullptr; }
  Record& operator*() { return *record_; }
  const Record& operator*() const { return *record_; }
  Record* operator->() { return record_.get(); }
  const Record* operator->() const { return record_.get(); }
  const Record* get() const { return record_.get(); }

 private:
  std::unique_ptr<Record> record_;
};

}  // namespace ledger
