// What the tests of stores share: a clock in the test's hand, waiting forms of load() and
// replace(), records to write, folders to write them in.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "store/clock.h"
#include "store/store.h"

namespace ledger::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ManualClock {
 public:
  Clock clock() const {
    return [now = now_] { return Instant(milliseconds(now->load())); };
  }
  Instant now() const { return Instant(milliseconds(now_->load())); }
  void advance(milliseconds by) { now_->fetch_add(by.count()); }

 private:
  std::shared_ptr<std::atomic<std::int64_t>> now_ =
      std::make_shared<std::atomic<std::int64_t>>(1'700'000'000'000);
};

// A folder of its own, gone with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ledger-store-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = std::filesystem::canonical(name);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string file(const std::string& name = "ledger.db") const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

using LoadResult = tl::expected<Found, StoreError>;
using ReplaceResult = tl::expected<Replaced, StoreError>;

inline std::future<ReplaceResult> replace_async(Store& store, Replace write) {
  auto promise = std::make_shared<std::promise<ReplaceResult>>();
  auto result = promise->get_future();
  store.replace(std::move(write), [promise](auto r) { promise->set_value(std::move(r)); });
  return result;
}
inline ReplaceResult replace_now(Store& store, Replace write) {
  return replace_async(store, std::move(write)).get();
}

inline std::future<LoadResult> load_async(Store& store, const Digest& id) {
  auto promise = std::make_shared<std::promise<LoadResult>>();
  auto result = promise->get_future();
  store.load(id, [promise](auto r) { promise->set_value(std::move(r)); });
  return result;
}
inline LoadResult load_now(Store& store, const Digest& id) { return load_async(store, id).get(); }

inline void count_now(Store& store, std::vector<CountDelta> deltas) {
  auto promise = std::make_shared<std::promise<void>>();
  store.count(std::move(deltas), [promise] { promise->set_value(); });
  promise->get_future().get();
}

inline Digest id_of(std::uint64_t number) {
  Digest id{};
  for (std::size_t i = 0; i < 8; ++i) id[i] = static_cast<std::uint8_t>(number >> (8 * i));
  id[31] = 7;
  return id;
}

// A claim as a first call makes it.
inline Replace claim(const Digest& id, Instant now, const std::string& owner = "nobody") {
  Record next;
  next.state = State::in_flight;
  next.route = "charge_card";
  next.method = "POST";
  next.url = "https://api.stripe.com/v1/charges";
  next.agent = "billing-bot";
  next.run = "run-7";
  next.fingerprint = id_of(99);
  next.label = "order 7 of Zo\u00eb";
  next.key_text = "order-7";
  next.scope = 0xfedc'ba98'7654'3210;
  next.owner = owner;
  next.created_at = next.updated_at = next.first_sent_at = now;
  next.ownerless_at = now + seconds(110);
  next.ttl = std::chrono::hours(24);
  next.history.push_back({now, "claimed", ""});
  Replace write;
  write.id = id;
  write.next = std::move(next);
  write.add = {1, 1, 0, 0};
  return write;
}

inline AnswerPtr answer_of(std::string body, Instant now = {}) {
  Answer answer;
  answer.status = 200;
  answer.reason = "OK";
  answer.headers = {{"Content-Type", "application/json"}, {"Set-Cookie", "a=b"}};
  answer.body = std::move(body);
  answer.received_at = now;
  return std::make_shared<const Answer>(std::move(answer));
}

// The settling of what `record` claimed.
inline Replace settle(Record record, const std::string& body, Instant now) {
  Replace write;
  write.id = record.id;
  write.expected_version = record.version;
  record.state = State::completed;
  record.answer = answer_of(body, now);
  record.updated_at = now;
  if (record.ttl) record.expires_at = now + *record.ttl;
  record.history.push_back({now, "completed", "status 200"});
  write.next = std::move(record);
  return write;
}

inline Replace deletion(const Digest& id, std::uint64_t version) {
  Replace write;
  write.id = id;
  write.expected_version = version;
  return write;
}

// The record that a replace() which must swap has made.
inline Record swapped(ReplaceResult result) {
  REQUIRE_MESSAGE(result.has_value(), result.error().message);
  REQUIRE(result->swapped);
  return result->found.record ? *result->found.record : Record{};
}

inline bool same(const AnswerPtr& a, const AnswerPtr& b, bool bodies = true) {
  if (!a || !b) return !a && !b;
  return a->status == b->status && a->reason == b->reason && a->headers == b->headers &&
         (!bodies || a->body == b->body) && a->body_stored == b->body_stored &&
         a->received_at == b->received_at;
}

// Every field, so that none is forgotten by a store.
inline void check_same(const Record& a, const Record& b) {
  CHECK(a.id == b.id);
  CHECK(a.state == b.state);
  CHECK(a.version == b.version);
  CHECK(a.claim_version == b.claim_version);
  CHECK(a.generation == b.generation);
  CHECK(a.route == b.route);
  CHECK(a.method == b.method);
  CHECK(a.url == b.url);
  CHECK(a.agent == b.agent);
  CHECK(a.run == b.run);
  CHECK(a.fingerprint == b.fingerprint);
  CHECK(a.key_source == b.key_source);
  CHECK(a.counts.attempts == b.counts.attempts);
  CHECK(a.counts.executed == b.counts.executed);
  CHECK(a.counts.replayed == b.counts.replayed);
  CHECK(a.counts.joined == b.counts.joined);
  CHECK(a.counts.unsent == b.counts.unsent);
  CHECK(a.counts.mismatched == b.counts.mismatched);
  CHECK((a.label == b.label && a.key_text == b.key_text && a.scope == b.scope));
  CHECK(a.effects == b.effects);
  CHECK(a.tainted == b.tainted);
  CHECK(a.closed_at == b.closed_at);
  CHECK(a.owner == b.owner);
  CHECK((a.created_at == b.created_at && a.updated_at == b.updated_at));
  CHECK((a.expires_at == b.expires_at && a.ttl == b.ttl));
  CHECK((a.first_sent_at == b.first_sent_at && a.ownerless_at == b.ownerless_at));
  CHECK(same(a.answer, b.answer));
  CHECK(bool(a.request) == bool(b.request));
  if (a.request && b.request) {
    CHECK(a.request->target == b.request->target);
    CHECK(a.request->content_type == b.request->content_type);
    CHECK(a.request->content_encoding == b.request->content_encoding);
    CHECK(a.request->body == b.request->body);
    CHECK(a.request->probe == b.request->probe);
  }
  REQUIRE(a.history.size() == b.history.size());
  for (std::size_t i = 0; i < a.history.size(); ++i) {
    CHECK(a.history[i].at == b.history[i].at);
    CHECK(a.history[i].event == b.history[i].event);
    CHECK(a.history[i].detail == b.history[i].detail);
  }
}

}  // namespace ledger::test
