// What a person does to records: settle, forget; against a store that others write to as well.
#include <doctest/doctest.h>

#include "guard/operate.h"
#include "store/faulty.h"
#include "tests/admin_support.h"

using namespace ledger;
using namespace ledger::test;
using Kind = OperateError::Kind;

namespace {
std::unique_ptr<Store> memory() { return std::move(*open_store("memory:", true, true)); }
}  // namespace

TEST_CASE("an in-doubt record is settled as executed, with or without an answer") {
  const auto store = memory();
  const auto doubt = put_in_doubt(*store, 1);
  const auto done = resolve_record(*store, doubt.id, {true, answer_of("given", store->now())});
  REQUIRE(done.has_value());
  CHECK(done->state == State::completed);
  CHECK(done->version > doubt.version);
  CHECK(done->answer->body == "given");
  CHECK(done->expires_at.has_value());
  CHECK(done->history.back().event == "resolved");
  CHECK_FALSE(resolve_record(*store, put_in_doubt(*store, 2).id, {true, nullptr})->answer);
}

TEST_CASE("an in-doubt record is settled as not executed: its next call is sent") {
  const auto store = memory();
  const auto done = resolve_record(*store, put_in_doubt(*store, 1).id, {false, nullptr});
  REQUIRE(done.has_value());
  CHECK(done->state == State::released);
  CHECK(done->effects == 0);
}

TEST_CASE("only what is in doubt can be settled") {
  const auto store = memory();
  CHECK(resolve_record(*store, id_of(9), {true, nullptr}).error().kind == Kind::not_found);
  for (const auto& record : {put_in_flight(*store, 1), put_completed(*store, 2)}) {
    const auto settled = resolve_record(*store, record.id, {true, nullptr});
    REQUIRE_FALSE(settled.has_value());
    CHECK(settled.error().kind == Kind::conflict);
    CHECK(ledger::load_now(*store, record.id)->record->version == record.version);
  }
}

TEST_CASE("a record is forgotten, but never in flight") {
  const auto store = memory();
  const auto done = put_completed(*store, 1), doubt = put_in_doubt(*store, 2);
  CHECK(delete_record(*store, done.id).has_value());
  CHECK(delete_record(*store, doubt.id).has_value());
  CHECK_FALSE(ledger::load_now(*store, done.id)->record);
  CHECK(delete_record(*store, done.id).error().kind == Kind::not_found);
  const auto running = put_in_flight(*store, 3);
  CHECK(delete_record(*store, running.id).error().kind == Kind::conflict);
  CHECK(ledger::load_now(*store, running.id)->record);
}

// Between our reading and our writing the late answer comes: it wins, and nothing of it is lost.
TEST_CASE("who comes between is seen") {
  const auto store = memory();
  const auto doubt = put_in_doubt(*store, 1);
  FaultyStore held(*store);
  held.on_replace(1, Fault::hold_before);
  auto resolving = std::async(std::launch::async, [&] {
    return resolve_record(held, doubt.id, {false, nullptr});
  });
  while (held.held() == 0) std::this_thread::yield();
  swapped(test::replace_now(*store, settle(doubt, "late", store->now())));
  held.release();
  const auto resolved = resolving.get();
  REQUIRE_FALSE(resolved.has_value());
  CHECK(resolved.error().kind == Kind::conflict);
  CHECK(ledger::load_now(*store, doubt.id)->record->answer->body == "late");
}

TEST_CASE("a store that fails says so") {
  const auto store = memory();
  const auto doubt = put_in_doubt(*store, 1);
  FaultyStore faulty(*store);
  faulty.on_replace(1, Fault::fail);
  CHECK(resolve_record(faulty, doubt.id, {true, nullptr}).error().kind == Kind::store);
  faulty.on_load(2, Fault::fail);
  CHECK(delete_record(faulty, doubt.id).error().kind == Kind::store);
}

TEST_CASE("what a lost owner left in flight is settled and forgotten as what is in doubt") {
  const auto store = memory();
  const auto lost = put_in_flight(*store, 1), other = put_in_flight(*store, 2);
  store->leave_instance(lost.owner);
  store->leave_instance(other.owner);
  const auto done = resolve_record(*store, lost.id, {true, nullptr});
  REQUIRE(done.has_value());
  CHECK(done->state == State::completed);
  CHECK(done->effects == 1);
  CHECK(done->history[done->history.size() - 2].event == "owner_lost");
  CHECK(delete_record(*store, other.id).has_value());
}
