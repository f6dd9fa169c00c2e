#include "proxy/prober.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "guard/operate.h"
#include "proxy/probe.h"

namespace ledger {
namespace {

// How often records in doubt are looked for, and how soon one is asked about again.
constexpr Duration look_interval{250}, pause_min{500}, pause_max{60'000};
constexpr std::size_t records_a_round = 100;
constexpr std::chrono::seconds answer_max{10};

bool is_asked(const Route& route) {
  return route.policy.guarded && route.policy.probe && route.policy.probe->headers;
}

}  // namespace

bool Prober::is_needed(const Config& config) {
  return std::any_of(config.routes.begin(), config.routes.end(), is_asked);
}

Prober::Prober(const Config& config, Store& store, const UpstreamTls& tls, const Reach& reach)
    : config_(config), store_(store), worker_(config, tls, reach) {
  asio::co_spawn(
      worker_.context, [this]() -> Awaitable<> { return run(); }, asio::detached);
  thread_ = std::thread([this] { worker_.context.run(); });
}

Prober::~Prober() {
  worker_.context.stop();
  thread_.join();
}

Awaitable<> Prober::run() {
  Timer timer(worker_.context);
  for (;;) {
    for (const auto& route : config_.routes)
      if (is_asked(route)) co_await round(route);
    timer.expires_after(look_interval);
    co_await timer.async_wait(use_result);
  }
}

Awaitable<> Prober::round(const Route& route) {
  Query query;
  query.state = State::in_doubt;
  query.route = route.name;
  query.limit = records_a_round;
  const auto page = store_.scan(query);
  if (!page) co_return;
  for (const auto& record : page->records) {
    const auto now = SteadyClock::now();
    auto& turn = turns_.try_emplace(record.id, Turn{now, pause_min}).first->second;
    if (now < turn.next) continue;
    turn.next = now + turn.pause;
    turn.pause = std::min(turn.pause * 2, pause_max);
    co_await settle(route, record.id);
  }
  // Settled ones are not asked about any more.
  std::erase_if(turns_, [now = SteadyClock::now()](const auto& entry) {
    return now > entry.second.next + 2 * pause_max;
  });
}

Awaitable<> Prober::settle(const Route& route, const Digest& id) {
  const auto& rule = *route.policy.probe;
  const auto found = load_now(store_, id);
  if (!found || !found->record || !found->record->request) co_return;
  const auto& record = *found->record;
  const auto url = parse_url(record.request->probe);
  if (record.state != State::in_doubt || !url) co_return;
  bool insecure = false;
  for (const auto& mount : config_.mounts)
    insecure = insecure || (mount.insecure && mount.upstream.origin() == url->origin());
  const auto deadline = SteadyClock::now() + answer_max;
  const auto asked_at = store_.now();
  auto probed =
      co_await ask(worker_.pool, rule, record.request->probe, insecure, *rule.headers, deadline);
  probed.asked_at = asked_at;
  auto decision = decide(&record, route.policy, probed, store_.now());
  auto* commit = std::get_if<Commit>(&decision);
  if (commit == nullptr) co_return;
  Replace write;
  write.id = id;
  write.expected_version = record.version;
  write.next = std::move(commit->next);
  // Lost to somebody else, or asked again.
  static_cast<void>(replace_now(store_, std::move(write)));
}

}  // namespace ledger
