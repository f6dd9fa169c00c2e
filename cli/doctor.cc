// ledger doctor: has each client on this machine make one http and one https call, and says whether
// it came through a proxy of ours (see probe.h).
#include <signal.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <iostream>
#include <mutex>
#include <thread>

#include "cli/commands.h"
#include "cli/probe.h"
#include "cli/terminal.h"

namespace ledger::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t at_once = 2;

// Removed with all that is in it.
struct Folder {
  Folder() {
    auto pattern = (fs::temp_directory_path() / "ledger-doctor-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path;
};

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

// Tells of each client in the table's order, as soon as it and those before it are known. False:
// SIGINT or SIGTERM, which are blocked, came before all were.
bool examine_all(const Probe& probe, std::atomic<bool>& stop, std::vector<Findings>& all,
                 const std::function<void(const Client&, const Findings&)>& tell) {
  const auto& clients = known_clients();
  std::vector<bool> done(clients.size());
  all.resize(clients.size());
  std::mutex mutex;
  std::size_t next = 0, told = 0;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (next < clients.size() && !stop) {
      const auto mine = next++;
      lock.unlock();
      auto findings = probe.examine(clients[mine]);
      lock.lock();
      all[mine] = std::move(findings);
      done[mine] = !stop;
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < at_once; ++i) threads.emplace_back(work);
  const auto signals = ending_signals();
  while (told < clients.size() && !stop) {
    const timespec moment{0, 20'000'000};
    if (sigtimedwait(&signals, nullptr, &moment) > 0) stop = true;
    const std::lock_guard lock(mutex);
    for (; told < clients.size() && done[told]; ++told) tell(clients[told], all[told]);
  }
  for (auto& thread : threads) thread.join();
  return !stop;
}

// --- what it says ------------------------------------------------------------------------------

struct Wording {
  const char* json;
  const char* text;
  Style style;
};
const Wording& wording(Verdict verdict) {
  static constexpr Wording all[] = {{"not_found", "not found", Style::dim},
                                    {"through", "through", Style::good},
                                    {"bypassed", "bypassed", Style::bad},
                                    {"refused_ca", "refused the CA", Style::bad},
                                    {"failed", "failed", Style::bad}};
  return all[static_cast<std::size_t>(verdict)];
}

class Report {
 public:
  Report(bool json, const std::vector<std::pair<std::string, std::string>>& places)
      : json_(json), places_(places), colour_(!json && shows_colour(1)) {
    columns_.fit({{"x " + longest_name()}, {wording(Verdict::refused_ca).text}, {"https"}});
    if (!json_)
      std::cout << columns_.line(
                       {{"  client", Style::dim}, {"http", Style::dim}, {"https", Style::dim}},
                       colour_)
                << '\n';
  }

  // Of those that are not there people read at the end, in one line.
  void tell(const Client& client, const Findings& findings) {
    if (!json_ && !findings.found()) return;
    const auto advice = advice_for(client, findings);
    if (json_) {
      Json line = {{"client", client.name}, {"program", nullptr}};
      if (findings.found()) line["program"] = findings.program;
      add(line, "http", findings.http);
      add(line, "https", findings.https);
      if (!advice.empty()) line["advice"] = advice;
      print_json(line);
    } else {
      print(client, findings, advice);
    }
    std::cout.flush();
  }

 private:
  static std::string longest_name() {
    std::string longest;
    for (const auto& client : known_clients())
      if (client.name.size() > longest.size()) longest = client.name;
    return longest;
  }
  static Cell cell(const Finding& finding) {
    const auto& words = wording(finding.verdict);
    return {words.text, words.style};
  }
  static void add(Json& line, const std::string& scheme, const Finding& finding) {
    line[scheme] = wording(finding.verdict).json;
    if (!finding.reason.empty()) line[scheme + "_reason"] = finding.reason;
  }

  std::string advice_for(const Client& client, const Findings& findings) const {
    std::string advice;
    if (findings.has(Verdict::bypassed))
      advice = client.when_bypassed;
    else if (findings.has(Verdict::refused_ca))
      advice = client.when_refused;
    for (const auto& [name, value] : places_) replace_all(advice, name, value);
    return advice;
  }

  void print(const Client& client, const Findings& findings, const std::string& advice) const {
    const bool good = findings.through();
    const std::string mark = good ? "✓ " : "✗ ";
    std::cout << columns_.line({{mark + client.name, good ? Style::plain : Style::bold},
                                cell(findings.http),
                                cell(findings.https)},
                               colour_)
              << '\n';
    if (!findings.http.reason.empty()) note("http: " + findings.http.reason);
    if (!findings.https.reason.empty()) note("https: " + findings.https.reason);
    if (!advice.empty()) std::cout << "    → " << advice << '\n';
  }
  void note(const std::string& text) const {
    std::cout << styled("    " + text, Style::dim, colour_) << '\n';
  }

  const bool json_;
  const std::vector<std::pair<std::string, std::string>>& places_;
  const bool colour_;
  Columns columns_;
};

// Only where people read it.
void sum_up(const std::vector<Findings>& all, bool colour) {
  std::size_t found = 0, through = 0;
  std::string past, missing;
  const auto add = [](std::string& list, const std::string& name) {
    list += (list.empty() ? "" : ", ") + name;
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& name = known_clients()[i].name;
    found += all[i].found();
    through += all[i].through();
    if (!all[i].found()) add(missing, name);
    if (all[i].has(Verdict::bypassed)) add(past, name);
  }
  if (!missing.empty()) std::cout << styled("- not found: " + missing, Style::dim, colour) << '\n';
  std::cout << '\n'
            << through << " of " << counted(found, "client") << " found "
            << (through == 1 ? "comes" : "come") << " through\n";
  if (!past.empty())
    std::cout << styled("Unguarded and unseen: " + past, Style::bad, colour) << '\n';
}

}  // namespace

int doctor(const DoctorOptions& options) {
  const auto loaded = load(options.config);
  if (!loaded) return usage;
  const auto& config = loaded->config;
  const auto authority = CertificateAuthority::open(config);
  if (!authority) return refuse(authority.error());
  const auto& listen = config.listeners.front().listen;
  const auto variables = client_environment(config, listen, {}, **authority);
  if (!variables) return refuse(variables.error());
  const Folder folder;
  if (folder.path.empty())
    return refuse("cannot make a folder in " + fs::temp_directory_path().string());
  Config throw_away = default_config();
  throw_away.state_dir = folder.path;
  const auto echo_authority = CertificateAuthority::open(throw_away);
  if (!echo_authority) return refuse(echo_authority.error());

  signal(SIGPIPE, SIG_IGN);
  const auto signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  std::vector<std::pair<std::string, std::string>> places = {
      {"{ca}", fs::absolute((*authority)->certificate_file()).string()},
      {"{host}", listen.host == "0.0.0.0" ? "127.0.0.1" : listen.host},
      {"{port}", std::to_string(listen.port)}};
  for (const auto& [name, value] : *variables)
    if (name == "SSL_CERT_FILE") places.emplace_back("{bundle}", value);

  std::atomic<bool> stop{false};
  const Probe probe(config, **authority, **echo_authority, folder.path, stop);
  Report report(options.json, places);
  std::vector<Findings> all;
  if (!examine_all(probe, stop, all, [&](const auto& client, const auto& findings) {
        report.tell(client, findings);
      }))
    return failed;
  if (!options.json) sum_up(all, shows_colour(1));

  bool well = true;
  for (const auto& each : all) well = well && (!each.found() || each.through());
  for (const auto* name : {"NO_PROXY", "no_proxy"})
    if (const char* list = std::getenv(name))
      if (const auto past = bypassed_host(config, list)) {
        refuse(std::string(name) + " has `" + past->second + "`: calls to " + past->first +
               ", which a route guards, go past Ledger");
        well = false;
        break;
      }
  return well ? fine : failed;
}

}  // namespace ledger::cli
