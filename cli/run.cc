// ledger run: a command whose calls come through Ledger, and what became of them.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <iostream>
#include <map>
#include <thread>
#include <unordered_map>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/records.h"
#include "cli/rows.h"
#include "cli/terminal.h"
#include "proxy/descriptors.h"
#include "proxy/server.h"

namespace ledger::cli {
namespace {

constexpr int cannot_execute = 126, not_found = 127;  // as shells say it
constexpr std::size_t records_looked_at = 1000;
constexpr std::size_t doubts_told = 20, hosts_told = 20;
constexpr std::chrono::milliseconds counts_delay{100};  // until another process has written its own

// --- the command -------------------------------------------------------------------------------

sigset_t handed_on() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD})
    sigaddset(&set, signal);
  return set;
}

// What the process would have had without us.
struct Inherited {
  sigset_t signals;
  rlimit descriptors;
};

// The process, as it would have been without us. Negative: why not, as errno.
pid_t spawn(std::vector<std::string> command, std::vector<std::string> environment,
            const Inherited& before) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &before.signals);
  sigset_t reset;
  sigemptyset(&reset);
  sigaddset(&reset, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &reset);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  set_descriptor_limit(before.descriptors);  // it is inherited; what is open stays open
  pid_t child = 0;
  const int error = posix_spawnp(&child, command.front().c_str(), nullptr, &attributes,
                                 pointers(command).data(), pointers(environment).data());
  raise_descriptor_limit();
  posix_spawnattr_destroy(&attributes);
  return error == 0 ? child : -error;
}

// Its exit code. Signals go on to it, but for those that the terminal has sent to it as well.
int wait_for(pid_t child, const sigset_t& signals) {
  for (;;) {
    siginfo_t info{};
    const int signal = sigwaitinfo(&signals, &info);
    int status = 0;
    if (signal == SIGCHLD) {
      if (waitpid(child, &status, WNOHANG) != child) continue;
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    } else if (signal > 0 && info.si_code <= 0) {
      ::kill(child, signal);
    }
  }
}

// --- what became of its calls ------------------------------------------------------------------

// Counts as they were. Records that were not among the newest then count whole if they change.
struct Before {
  std::unordered_map<Digest, Counts> counts;
  std::uint64_t version = 0;
};

Before state_of(Store& store) {
  Before before;
  if (const auto page = store.scan(newest(records_looked_at))) {
    before.version = page->version;
    for (const auto& record : page->records) before.counts[record.id] = record.counts;
  }
  return before;
}

// Counts are written behind; an empty one is answered when all before it are.
void written(Store& store) {
  std::promise<void> done;
  store.count({}, [&done] { done.set_value(); });
  done.get_future().wait();
}

// What was asked since `before` of this record, if anything was.
bool leave_what_is_new(Record& record, const Before& before) {
  auto& now = record.counts;
  if (const auto was = before.counts.find(record.id);
      was != before.counts.end() && was->second.attempts <= now.attempts) {
    // What was in flight then may have come to nothing since.
    const auto less = [](std::uint64_t& n, std::uint64_t by) { n -= std::min(n, by); };
    less(now.attempts, was->second.attempts);
    less(now.executed, was->second.executed);
    less(now.replayed, was->second.replayed);
    less(now.joined, was->second.joined);
    less(now.unsent, was->second.unsent);
    less(now.mismatched, was->second.mismatched);
  }
  return now.attempts + now.mismatched > 0;
}

void tell(const std::vector<Row>& rows) {
  const bool colour = shows_colour(2);
  Columns columns;
  for (const auto& row : rows) columns.fit(row);
  for (const auto& row : rows) std::cerr << columns.line(row, colour) << '\n';
}

// The log's lines of what was asked since `before`, and what of it is in doubt.
void report(Store& store, const Before& before, const StoreOptions& place) {
  Summary summary;
  std::vector<Record> in_doubt;
  std::size_t seen = 0;
  const auto scanned = each_record(store, Filter(), [&](Record& record) {
    const bool changed = record.version > before.version;
    if (!changed && seen >= records_looked_at) return false;
    ++seen;
    if (!leave_what_is_new(record, before)) return true;
    summary.add(record);
    if (record.state == State::in_doubt && in_doubt.size() < doubts_told)
      in_doubt.push_back(std::move(record));
    return true;
  });
  if (!scanned) return;
  if (summary.empty()) {
    std::cerr << "ledger: no guarded call came through\n";
    return;
  }
  tell(summary.rows());
  if (in_doubt.empty()) return;
  std::vector<Row> rows;
  for (auto record = in_doubt.rbegin(); record != in_doubt.rend(); ++record)
    rows.push_back(record_row(*record));
  std::cerr << counted(summary.in_doubt(), "call") << " in doubt, not sent again on a guess; `"
            << clean(command_for("doubts", place)) << "` says why and what to do:\n";
  tell(rows);
}

// Blind tunnels by host.
using Blind = std::map<std::string, std::uint64_t>;

Blind blind_here(const TunnelCounts& tunnels) {
  Blind blind;
  for (const auto& [host, n] : tunnels.all()) blind[host] = n.blind;
  return blind;
}

Json stats_there(const Config& config) {
  return Json::parse(ask_admin(config, "/api/stats").value_or(""), nullptr, false);
}

// Of the running proxy, as far as it tells.
Blind blind_there(const Config& config) {
  Blind blind;
  const auto stats = stats_there(config);
  if (!stats.is_object() || !stats.contains("tunnels")) return blind;
  for (const auto& tunnel : stats["tunnels"])
    blind[tunnel.value("host", "")] = tunnel.value("blind", std::uint64_t{0});
  return blind;
}

bool is_strict_there(const Config& config) {
  const auto stats = stats_there(config);
  return stats.is_object() && stats.value("strict", false);
}

// What nobody saw, for it may be what mattered.
void report_blind(const Blind& earlier, const Blind& now) {
  std::string hosts;
  std::size_t told = 0, more = 0;
  for (const auto& [host, n] : now) {
    const auto was = earlier.find(host);
    const auto news = was != earlier.end() && was->second <= n ? n - was->second : n;
    if (news == 0) continue;
    if (told++ < hosts_told)
      hosts += (hosts.empty() ? "" : ", ") + clean(host) + " (" + counted(news, "tunnel") + ")";
    else
      ++more;
  }
  if (told == 0) return;
  if (more > 0) hosts += " and " + counted(more, "other host");
  std::cerr << "ledger: went by unseen and unguarded: " << hosts
            << ". Name them in an https route, or run with --strict, which refuses such tunnels\n";
}

// A proxy of this process, on a port of its own, beside whatever else uses the store.
struct OwnProxy {
  Config config;
  Metrics metrics;
  std::unique_ptr<Server> server;
};

tl::expected<void, std::string> start(OwnProxy& own, Store& store, Server::Authority authority) {
  for (const auto& listener : own.config.listeners) own.config.also_own.push_back(listener.listen);
  own.config.listeners.resize(1);
  own.config.listeners.front().listen = {"127.0.0.1", 0};
  const auto log = [](const std::string& line) { std::cerr << "ledger: " + clean(line) + "\n"; };
  auto server = Server::start(own.config, store, own.metrics, "", log, std::move(authority));
  if (!server) return tl::unexpected(server.error());
  own.server = std::move(*server);
  const auto address = own.server->addresses().front();
  own.config.listeners.front().listen.port =
      static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
  return {};
}

}  // namespace

int run(const RunOptions& options) {
  const auto loaded = load(options.config);
  if (!loaded) return usage;
  const auto& config = loaded->config;
  auto opened = CertificateAuthority::open(config);
  if (!opened) return refuse(opened.error());
  const Server::Authority authority = std::move(*opened);

  const auto signals = handed_on();
  Inherited before{};
  pthread_sigmask(SIG_BLOCK, &signals, &before.signals);
  before.descriptors = raise_descriptor_limit();
  signal(SIGPIPE, SIG_IGN);

  const auto found = running_proxy(config, *authority);
  if (!found) refuse(found.error() + "; this command gets a proxy of its own");
  const auto running = found.value_or(std::nullopt);
  if (running && options.strict && !is_strict_there(config))
    return refuse("--strict is for a proxy of one's own: the one that answers on " +
                      running->to_string() +
                      " lets tunnels by that it does not open; set `https: { strict: true }` and "
                      "restart it",
                  usage);
  const bool outside = running && config.store_url == "memory:";  // its records live in it alone
  auto store = open_to_serve(config, [](const std::string& line) { refuse(line); });
  if (!store) return refuse(store.error());
  OwnProxy own{config, {}, nullptr};
  if (options.strict) own.config.https.strict = true;
  if (!running)
    if (auto started = start(own, **store, authority); !started) return refuse(started.error());
  const auto listen = running ? *running : own.config.listeners.front().listen;

  const auto variables =
      client_environment(config, listen, {options.agent, options.run}, *authority);
  if (!variables) return refuse(variables.error());
  for (const auto* name : {"NO_PROXY", "no_proxy"})
    if (const char* list = std::getenv(name))
      if (const auto past = bypassed_host(config, list)) {
        refuse(std::string(name) + " has `" + past->second + "`: calls to " + past->first +
               ", which a route guards, go past Ledger");
        break;
      }

  const auto earlier = state_of(**store);
  const auto blind_earlier = running ? blind_there(config) : Blind();
  const auto child = spawn(options.command, merged_environment(*variables), before);
  if (child < 0) {
    const bool missing = child == -ENOENT;
    return refuse(
        "cannot run " + options.command.front() + ": " +
            (missing ? "there is no such command" : std::generic_category().message(-child)),
        missing ? not_found : cannot_execute);
  }
  const int code = wait_for(child, signals);
  if (own.server) {
    own.server->drain();
    own.server.reset();
    written(**store);
  } else {
    std::this_thread::sleep_for(counts_delay);
  }
  if (outside)
    std::cerr << "ledger: what became of its calls: http://" << config.admin.to_string()
              << "/api/records\n";
  else
    report(**store, earlier, StoreOptions{options, ""});
  report_blind(blind_earlier, running ? blind_there(config) : blind_here(own.metrics.tunnels));
  return code;
}

}  // namespace ledger::cli
