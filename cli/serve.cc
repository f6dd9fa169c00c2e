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
#include "proxy/server.h"
#include "store/store.h"

namespace ledger::cli {
namespace {

// SIGTERM and SIGINT are waited for, never handled asynchronously; all threads inherit the mask.
sigset_t block_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

int wait_for(const sigset_t& set) {
  int received = 0;
  while (sigwait(&set, &received) != 0) {
  }
  return received;
}

}  // namespace

int serve(const std::string& config_file) {
  const auto loaded = load(config_file);
  if (!loaded) return usage;
  const auto& config = loaded->config;
  const auto signals = block_signals();
  const auto log = spdlog::stderr_color_mt("ledger");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");

  auto store = open_store(config.store_url, config.durability == Durability::full, true);
  if (!store) return refuse(store.error().message);
  Metrics metrics;
  auto admin = AdminServer::start(config, **store, metrics);
  if (!admin) return refuse(admin.error());
  auto server = Server::start(config, **store, metrics, (*admin)->address(),
                              [log](const std::string& line) { log->warn("{}", clean(line)); });
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
  for (const auto& mount : config.mounts)
    if (mount.insecure)
      log->warn(
          "INSECURE: mount {} does not verify who {} is; whoever sits in between can read, "
          "change and answer its calls",
          mount.prefix, mount.upstream.origin());

  wait_for(signals);
  log->info("stopping: executions finish, new calls are refused (a second signal stops at once)");
  std::thread([signals] {
    wait_for(signals);
    std::_Exit(failed);
  }).detach();
  (*server)->drain();
  log->info("stopped");
  return fine;
}

}  // namespace ledger::cli
