#include "tests/sim/upstream.h"

namespace ledger::sim {
namespace {

using Kind = Plan::Kind;
using std::chrono::milliseconds;

class ScriptedExchange final : public Exchange {
 public:
  ScriptedExchange(Upstream& upstream, int key, const Record& claimed, bool with_key,
                   const Executor& executor)
      : upstream_(upstream),
        key_(key),
        generation_(claimed.generation),
        upstream_key_(with_key ? upstream_key(claimed) : std::string()),
        timer_(executor) {}
  ~ScriptedExchange() override { hang_up(); }

  Awaitable<Connected> connect(SteadyClock::time_point deadline) override {
    hang_up();
    const auto dial = upstream_.dial(key_);
    timer_.expires_at(std::min(SteadyClock::now() + dial.takes, deadline));
    co_await timer_.async_wait(use_result);
    Connected connected;
    if (SteadyClock::now() >= deadline) connected.error = "connecting took too long";
    if (dial.fails) {
      connected.error = "connection refused";
      connected.lasting = dial.lasting;
    }
    co_return connected;
  }

  Awaitable<Started> start() override {
    wire_ = std::make_shared<Wire>();
    wire_->reader = &timer_;
    upstream_.send(key_, generation_, upstream_key_, wire_);
    while (!wire_->has_head && wire_->error.empty()) co_await more();
    Started started;
    if (wire_->has_head)
      started.head = wire_->head;
    else
      started.error = wire_->error;
    co_return started;
  }

  Awaitable<More> read(std::string& out) override {
    while (!ready()) co_await more();
    More result;
    if (!wire_->pieces.empty()) {
      out += wire_->pieces.front();
      wire_->pieces.pop_front();
      result.done = wire_->done && wire_->pieces.empty();
    } else {
      result.error = wire_->error;
      result.done = wire_->error.empty();
    }
    co_return result;
  }

  bool ready() const override {
    return !wire_->pieces.empty() || wire_->done || !wire_->error.empty();
  }
  void expires_at(SteadyClock::time_point when) override { expires_ = when; }

 private:
  Awaitable<> more() {
    timer_.expires_at(expires_);
    co_await timer_.async_wait(use_result);
    if (SteadyClock::now() >= expires_) wire_->error = "the destination did not answer in time";
  }
  void hang_up() {
    if (wire_) wire_->reader = nullptr;
  }

  Upstream& upstream_;
  const int key_;
  const std::uint64_t generation_;
  const std::string upstream_key_;
  Timer timer_;
  SteadyClock::time_point expires_ = SteadyClock::time_point::max();
  WirePtr wire_;
};

}  // namespace

std::unique_ptr<Exchange> Upstream::exchange(int key, const Record& claimed,
                                             const Executor& executor) {
  return std::make_unique<ScriptedExchange>(*this, key, claimed,
                                            !scenario_.policy.upstream_key.empty(), executor);
}

std::optional<std::string> Upstream::effect_of(int key, std::uint64_t generation) const {
  const auto at = effects_.find({key, generation});
  if (at == effects_.end()) return std::nullopt;
  return at->second;
}

void Upstream::send(int key, std::uint64_t generation, const std::string& upstream_key,
                    const WirePtr& wire) {
  const int nth = sendings_[key]++;
  Sending sending{key, ++wire_count_, generation, upstream_key, scenario_.plan(key, nth), wire};
  world_.auditor().sent(key, generation, sending.number, world_.now());
  if (world_.tracing())
    world_.trace("key " + std::to_string(key) + ": sent (generation " + std::to_string(generation) +
                 "), plan " + std::to_string(static_cast<int>(sending.plan.kind)));
  if (sending.plan.kind == Kind::lose || sending.plan.kind == Kind::lose_and_find)
    world_.later(sending.plan.arrives, [this, sending] {
      sending.wire->error = "connection reset";
      sending.wire->wake();
      if (sending.plan.kind == Kind::lose) closed(sending);
    });
  if (sending.plan.kind == Kind::lose) return;
  world_.later(sending.plan.arrives, [this, sending] { arrive(sending); });
}

void Upstream::closed(const Sending& sending) {
  world_.auditor().wire_closed(sending.key, sending.number);
}

void Upstream::arrive(const Sending& sending) {
  const auto& plan = sending.plan;
  if (plan.kind == Kind::reject) {
    closed(sending);
    return answer(sending, plan.status, "refused", plan.status == 503);
  }
  if (honours(sending)) {
    auto [at, fresh] = known_.try_emplace(sending.upstream_key);
    if (!fresh) {
      closed(sending);
      if (plan.kind == Kind::lose_and_find) return;
      if (at->second.running) return answer(sending, 409, "still running", false);
      return answer(sending, at->second.status, at->second.body, false);
    }
  }
  world_.later(plan.takes, [this, sending] { finish(sending); });
}

std::string Upstream::take_effect(const Sending& sending) {
  const auto token = "effect-" + std::to_string(++effect_count_);
  effects_.emplace(std::pair(sending.key, sending.generation), token);
  if (world_.tracing()) world_.trace("key " + std::to_string(sending.key) + ": " + token);
  world_.auditor().effect(sending.key, sending.generation, token, world_.now());
  closed(sending);
  return token;
}

void Upstream::finish(const Sending& sending) {
  const auto& plan = sending.plan;
  if (plan.kind == Kind::fail_clean) {
    closed(sending);
    // Some keep a failure under its key for ever, some take the call when it comes again.
    if (honours(sending)) {
      if (sending.number % 2)
        known_[sending.upstream_key] = {false, plan.status, "failed"};
      else
        known_.erase(sending.upstream_key);
    }
    return answer(sending, plan.status, "failed", false);
  }
  const auto token = take_effect(sending);
  if (honours(sending)) known_[sending.upstream_key] = {false, 200, token};
  if (plan.kind == Kind::fail) return answer(sending, plan.status, "failed", false);
  answer(sending, 200, token, false);
}

// The answer as this sending's plan lets it come back.
void Upstream::answer(const Sending& sending, int status, const std::string& body,
                      bool retry_after) {
  const auto& plan = sending.plan;
  const auto& wire = sending.wire;
  if (plan.kind == Kind::no_answer || plan.kind == Kind::lose_and_find) return;
  world_.later(plan.answers, [=, this] {
    if (plan.kind == Kind::reset) {
      wire->error = "connection reset";
      return wire->wake();
    }
    wire->has_head = true;
    wire->head.status = status;
    wire->head.length = body.size();
    if (retry_after) wire->head.headers.emplace_back("Retry-After", "1");
    const bool whole = plan.kind != Kind::slow_answer && plan.kind != Kind::truncate;
    wire->pieces.push_back(whole ? body : body.substr(0, 3));
    wire->done = whole;
    wire->wake();
    if (whole) return;
    world_.later(milliseconds(50) + plan.answers / 4, [=] {
      if (plan.kind == Kind::truncate) {
        wire->error = "the answer broke off";
      } else {
        wire->pieces.push_back(body.substr(3));
        wire->done = true;
      }
      wire->wake();
    });
  });
}

}  // namespace ledger::sim
