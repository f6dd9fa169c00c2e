#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "admin/router.h"

namespace ledger {
namespace {

void family(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  ((out += "# HELP ") += name) += ' ';
  (out += help) += "\n# TYPE ";
  ((out += name) += ' ') += type;
  out += '\n';
}

void sample(std::string& out, std::string_view name, std::string_view labels,
            const std::string& value) {
  ((out += name) += labels) += ' ';
  (out += value) += '\n';
}

std::string label(std::string_view name, std::string_view value) {
  return "{" + std::string(name) + "=\"" + std::string(value) + "\"}";
}

// Hosts are host names or addresses: nothing that a label's value would need to escape.
void tunnels(std::string& out, const TunnelCounts& counts) {
  const auto hosts = counts.all();
  family(out, "ledger_tunnels_total", "counter",
         "Tunnels by host; of a blind one no call is seen.");
  for (const auto& [host, n] : hosts)
    for (const auto& [kind, value] : {std::pair{"opened", n.opened}, std::pair{"blind", n.blind}})
      if (value > 0)
        sample(out, "ledger_tunnels_total", "{host=\"" + host + "\",kind=\"" + kind + "\"}",
               std::to_string(value));
  family(out, "ledger_unnamed_calls_total", "counter",
         "Calls in opened tunnels that no route named, and that passed.");
  for (const auto& [host, n] : hosts)
    if (n.passed > 0)
      sample(out, "ledger_unnamed_calls_total", label("host", host), std::to_string(n.passed));
}

std::string resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  long total = 0, resident = 0;
  statm >> total >> resident;
  return std::to_string(resident * sysconf(_SC_PAGESIZE));
}

std::string cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return std::to_string(static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                        static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

std::string open_files() {
  std::error_code error;
  std::size_t n = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end;
       at.increment(error))
    ++n;
  return std::to_string(n > 0 ? n - 1 : 0);  // not the one that reads the list
}

std::string open_files_max() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return std::to_string(limit.rlim_cur);
}

}  // namespace

std::string metrics_text(const Metrics& m) {
  std::string out;
  family(out, "ledger_calls_total", "counter", "Answers given, by Ledger-Status.");
  for (std::size_t i = 0; i < call_status_names.size(); ++i)
    sample(out, "ledger_calls_total", label("status", call_status_names[i]),
           std::to_string(m.calls[i].load()));
  family(out, "ledger_settled_total", "counter", "Executions that ended, by the state they left.");
  sample(out, "ledger_settled_total", label("state", "completed"),
         std::to_string(m.settled_completed.load()));
  sample(out, "ledger_settled_total", label("state", "released"),
         std::to_string(m.settled_released.load()));
  sample(out, "ledger_settled_total", label("state", "in_doubt"),
         std::to_string(m.settled_in_doubt.load()));
  tunnels(out, m.tunnels);
  const auto simple = [&](std::string_view name, std::string_view type, std::string_view help,
                          const std::string& value) {
    family(out, name, type, help);
    sample(out, name, "", value);
  };
  simple("ledger_store_errors_total", "counter", "Store calls that failed.",
         std::to_string(m.store_errors.load()));
  simple("ledger_certificates_signed_total", "counter", "Certificates signed for opened tunnels.",
         std::to_string(m.certificates_signed.load()));
  simple("ledger_connections_accepted_total", "counter", "Client connections taken.",
         std::to_string(m.accepted.load()));
  simple("ledger_connections", "gauge", "Client connections open.",
         std::to_string(m.connections.load()));
  simple("ledger_executions_in_flight", "gauge", "Executions running.",
         std::to_string(m.executions.load()));
  simple("ledger_waiters", "gauge", "Duplicates waiting for an execution.",
         std::to_string(m.waiters.load()));
  simple("ledger_memory_held_bytes", "gauge",
         "Bodies, recorded answers and replays of guarded calls; limits.memory bounds it.",
         std::to_string(m.memory_held.load()));
  simple("ledger_memory_waiters", "gauge", "Calls waiting for some of that.",
         std::to_string(m.memory_waiters.load()));
  family(out, "ledger_build_info", "gauge", "Always 1; its labels say what runs.");
  sample(out, "ledger_build_info", label("version", LEDGER_VERSION), "1");
  simple("process_cpu_seconds_total", "counter", "User and system CPU time in seconds.",
         cpu_seconds());
  simple("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
         resident_bytes());
  simple("process_open_fds", "gauge", "Open file descriptors.", open_files());
  simple("process_max_fds", "gauge", "Most file descriptors that may be open.", open_files_max());
  return out;
}

}  // namespace ledger
