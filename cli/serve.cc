// ledger serve: wires the store, the admin endpoint and the proxy, and waits to be told to stop.
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <thread>

#include "admin/admin.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "proxy/authority.h"
#include "proxy/descriptors.h"
#include "proxy/server.h"
#include "store/store.h"

namespace ledger::cli {
namespace {

// Signals are waited for, never handled asynchronously; all threads inherit the mask.
sigset_t block_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

std::uint64_t number_of_doubts(Store& store) {
  std::uint64_t doubts = 0;
  if (const auto routes = store.stats())
    for (const auto& route : *routes) doubts += route.in_doubt;
  return doubts;
}

// Until it is told to stop. A SIGHUP (the terminal is gone, or somebody expects a reload) is no
// such word.
void wait_for_stop(const sigset_t& set, spdlog::logger& log) {
  for (;;) {
    int received = 0;
    if (sigwait(&set, &received) != 0) continue;
    if (received != SIGHUP) return;
    log.warn("SIGHUP is ignored: the configuration is read at the start alone; restart to read it");
  }
}

}  // namespace

int serve(const std::string& config_file) {
  const auto signals = block_signals();
  raise_descriptor_limit();
  const auto loaded = load(config_file);
  if (!loaded) return usage;
  const auto& config = loaded->config;
  const auto log = spdlog::stderr_color_mt("ledger");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");

  const auto warn = [log](const std::string& line) { log->warn("{}", clean(line)); };
  auto store = open_to_serve(config, warn);
  if (!store) return refuse(store.error());
  // One for both, so that what /ca.pem says is what signs.
  Server::Authority authority;
  if (opens_tunnels(config))
    if (auto opened = CertificateAuthority::open(config)) authority = std::move(*opened);
  Metrics metrics;
  auto admin = AdminServer::start(config, **store, metrics, warn, authority);
  if (!admin) return refuse(admin.error());
  auto server = Server::start(config, **store, metrics, (*admin)->address(), warn, authority);
  if (!server) return refuse(server.error());

  log->info("config {}", loaded->file.empty() ? "built in (no ledger.yaml here)" : loaded->file);
  log->info("store {} ({} durability)", config.store_url,
            config.durability == Durability::full ? "full" : "normal");
  const auto addresses = (*server)->addresses();
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto& upstream = config.listeners[i].upstream;
    log->info("listening on {}{}", addresses[i], upstream ? " for " + upstream->to_string() : "");
  }
  log->info("admin on {}", (*admin)->address());
  if (const auto tunnels = (*server)->tunnels(); !tunnels.empty()) log->info("{}", tunnels);
  if (const auto fewer = (*server)->fewer_connections(); !fewer.empty()) log->warn("{}", fewer);
  if (authority)
    for (const auto& host : authority->beyond(config))
      log->warn(
          "the CA {} may not sign for {}, which a route names (its name constraints): clients will "
          "refuse its tunnels; `ledger ca rotate --only-named` makes one for today's routes",
          authority->certificate_file(), host);
  for (const auto& mount : config.mounts)
    if (mount.insecure)
      log->warn(
          "INSECURE: mount {} does not verify who {} is; whoever sits in between can read, "
          "change and answer its calls",
          mount.prefix, mount.upstream.origin());

  if (const auto doubts = number_of_doubts(**store); doubts > 0)
    log->warn("{} in doubt from before: `ledger doubts` names {}, with what to do",
              counted(doubts, "call"), doubts == 1 ? "it" : "them");

  wait_for_stop(signals, *log);
  log->info("stopping: executions finish, new calls are refused (a second signal stops at once)");
  std::thread([signals, log] {
    wait_for_stop(signals, *log);
    std::_Exit(failed);
  }).detach();
  (*server)->drain();
  log->info("stopped");
  return fine;
}

}  // namespace ledger::cli
