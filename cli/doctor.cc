// ledger doctor: has each client on this machine make one http and one https call, and says whether
// it came through a proxy of ours.
//
// Each call gets an echo and a proxy of its own, so that whatever either sees is this client's
// doing. The echo's name is one that only the proxy can look up. A client that never came to the
// proxy is sent to the echo's address as well: if it gets there, it can call and bypasses us.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "cli/child.h"
#include "cli/clients.h"
#include "cli/commands.h"
#include "cli/echo.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "proxy/server.h"

namespace ledger::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* echo_host = "doctor.ledger.invalid";  // RFC 6761: never in DNS
constexpr std::chrono::seconds call_max{10};
constexpr std::chrono::seconds settle_max{2};  // for what a client has left behind on its way out
constexpr std::size_t at_once = 2;
constexpr std::size_t reason_columns = 160;

enum class Verdict : std::uint8_t { not_found, through, bypassed, refused_ca, failed };
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

struct Finding {
  Verdict verdict = Verdict::not_found;
  std::string reason;  // of a failure or a refusal: the client's own last words
};
struct Findings {
  std::string program;  // empty: not found
  Finding http, https;
  bool done = false;
  bool found() const { return http.verdict != Verdict::not_found; }
  bool has(Verdict verdict) const { return http.verdict == verdict || https.verdict == verdict; }
  bool through() const {
    return http.verdict == Verdict::through && https.verdict == Verdict::through;
  }
};

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

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size())
    text.replace(at, what.size(), by);
}

std::string on_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::string_view folders = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (!folders.empty()) {
    const auto folder = folders.substr(0, folders.find(':'));
    folders.remove_prefix(std::min(folders.size(), folder.size() + 1));
    const auto file = fs::path(folder.empty() ? "." : folder) / program;
    std::error_code error;
    if (fs::is_regular_file(file, error) && ::access(file.c_str(), X_OK) == 0) return file.string();
  }
  return {};
}

bool is_about_trust(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static constexpr const char* words[] = {"certificate", "pkix", "unknown ca", "trust"};
  return std::any_of(std::begin(words), std::end(words),
                     [&](const char* word) { return text.find(word) != text.npos; });
}

// Why it failed: its last line about a certificate, else its last line. Indented ones are source
// code of a traceback.
std::string last_words(const Ended& ended) {
  if (ended.how == Ended::How::timed_out) return "no end after " + lasting(call_max);
  if (ended.how == Ended::How::not_started) return "it cannot be started";
  std::istringstream output(ended.output);
  std::string last, about_trust;
  for (std::string line; std::getline(output, line);) {
    while (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.front() == ' ' || line.front() == '\t') continue;
    last = line;
    if (is_about_trust(line)) about_trust = line;
  }
  if (!about_trust.empty()) last = about_trust;
  return last.empty() ? "exit code " + std::to_string(ended.code)
                      : shorten(clean(last), reason_columns);
}

// The environment of this process, with `variables` in place of its own.
std::vector<std::string> merged(const Variables& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto name = text.substr(0, text.find('='));
    if (std::none_of(variables.begin(), variables.end(),
                     [&](const auto& v) { return v.first == name; }))
      all.emplace_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

// --- one call ----------------------------------------------------------------------------------

// A proxy with one route, to the echo. Lines of its log are kept.
class Doctored {
 public:
  Doctored(const Config& users, const std::string& echo_root) : config_(users) {
    config_.listeners = {Listener{{"127.0.0.1", 0}, std::nullopt, {}}};
    config_.mounts.clear();
    config_.routes = {
        {"doctor", *RoutePattern::parse("* " + std::string(echo_host) + "/**"), unguarded()}};
    config_.hosts = {{echo_host, "127.0.0.1"}};
    config_.tls_roots = {echo_root};
    config_.tls_client_cert = config_.tls_client_key = {};
    config_.threads = 1;
  }

  tl::expected<Endpoint, std::string> start() {
    auto store = open_store("memory:", false, true);
    if (!store) return tl::unexpected(store.error().message);
    store_ = std::move(*store);
    auto server = Server::start(config_, *store_, metrics_, "", [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      log_ += line + "\n";
    });
    if (!server) return tl::unexpected(server.error());
    server_ = std::move(*server);
    const auto address = server_->addresses().front();
    return Endpoint{"127.0.0.1",
                    static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)))};
  }

  bool visited() const { return metrics_.accepted.load() > 0; }
  // Until the connections of a client that is gone have been seen to end.
  void settle() const {
    const auto deadline = std::chrono::steady_clock::now() + settle_max;
    while (metrics_.connections.load() > 0 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::string log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  Config config_;
  Metrics metrics_;
  std::unique_ptr<Store> store_;
  mutable std::mutex mutex_;
  std::string log_;
  std::unique_ptr<Server> server_;  // first to go
};

class Doctor {
 public:
  Doctor(const Config& config, const CertificateAuthority& authority, const std::string& folder,
         const CertificateAuthority& echo_authority)
      : config_(config),
        authority_(authority),
        folder_(folder),
        echo_authority_(echo_authority),
        findings_(known_clients().size()) {}

  void examine_all(const std::function<void(const Client&, const Findings&)>& tell);
  bool stopped() const { return stop_; }
  const std::vector<Findings>& findings() const { return findings_; }

 private:
  void examine(const Client& client, Findings& findings);
  Finding call(const Client& client, const std::string& program, bool secure);
  Ended run(const Client& client, const std::string& program, const std::string& url,
            Variables variables);

  const Config& config_;
  const CertificateAuthority& authority_;
  const std::string folder_;
  const CertificateAuthority& echo_authority_;  // not the user's: its clients never see it
  std::vector<Findings> findings_;
  std::atomic<bool> stop_{false};
};

Ended Doctor::run(const Client& client, const std::string& program, const std::string& url,
                  Variables variables) {
  const auto filled = [&](std::string text) {
    replace_all(text, "{url}", url);
    replace_all(text, "{folder}", folder_);
    return text;
  };
  std::vector<std::string> command = {program};
  for (const auto& argument : client.call) command.push_back(filled(argument));
  for (const auto& [name, value] : client.variables) variables.emplace_back(name, filled(value));
  return run_child(command, merged(variables), call_max, stop_);
}

Finding Doctor::call(const Client& client, const std::string& program, bool secure) {
  Echo echo(secure ? &echo_authority_ : nullptr, echo_host);
  Doctored proxy(config_, echo_authority_.certificate_file());
  const auto listen = proxy.start();
  if (!listen) return {Verdict::failed, "the proxy for it did not start: " + listen.error()};
  auto variables = client_environment(config_, *listen, {"doctor", ""}, authority_);
  if (!variables) return {Verdict::failed, variables.error()};
  // Where the user has told Java of the proxy by its port, that is the way to go here too.
  if (const char* options = std::getenv("JAVA_TOOL_OPTIONS")) {
    std::string moved = options;
    replace_all(moved, "Port=" + std::to_string(config_.listeners.front().listen.port),
                "Port=" + std::to_string(listen->port));
    if (std::none_of(variables->begin(), variables->end(),
                     [](const auto& v) { return v.first == "JAVA_TOOL_OPTIONS"; }))
      variables->emplace_back("JAVA_TOOL_OPTIONS", moved);
  }

  const auto url_of = [&](const std::string& host) {
    return std::string(secure ? "https" : "http") + "://" + host + ":" +
           std::to_string(echo.port()) + "/";
  };
  const auto ended = run(client, program, url_of(echo_host), *variables);
  if (echo.asked()) return {Verdict::through, {}};
  const auto words = last_words(ended);
  if (proxy.visited()) {
    proxy.settle();
    const bool refused = secure && (is_about_trust(proxy.log()) || is_about_trust(words));
    return {refused ? Verdict::refused_ca : Verdict::failed, words};
  }
  run(client, program, url_of("127.0.0.1"), *variables);
  if (echo.visited() && !proxy.visited()) return {Verdict::bypassed, {}};
  return {Verdict::failed, words};
}

void Doctor::examine(const Client& client, Findings& findings) {
  findings.program = on_path(client.program);
  if (findings.program.empty()) return;
  if (!client.exists.empty()) {
    std::vector<std::string> command = {findings.program};
    command.insert(command.end(), client.exists.begin(), client.exists.end());
    if (!run_child(command, merged({}), call_max, stop_).fine()) {
      findings.program.clear();
      return;
    }
  }
  findings.http = call(client, findings.program, false);
  findings.https = call(client, findings.program, true);
}

// Tells of each client in the table's order, as soon as it and those before it are known. SIGINT
// and SIGTERM, which the caller has blocked, end it early.
void Doctor::examine_all(const std::function<void(const Client&, const Findings&)>& tell) {
  const auto& clients = known_clients();
  std::mutex mutex;
  std::size_t next = 0, told = 0;
  const auto work = [&] {
    for (;;) {
      std::unique_lock lock(mutex);
      if (next == clients.size() || stop_) return;
      const auto mine = next++;
      lock.unlock();
      Findings findings;
      try {
        examine(clients[mine], findings);
      } catch (const std::exception& error) {
        findings.http = findings.https = {Verdict::failed, error.what()};
      }
      findings.done = !stop_;
      lock.lock();
      findings_[mine] = std::move(findings);
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < at_once; ++i) threads.emplace_back(work);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  while (told < clients.size() && !stop_) {
    const timespec moment{0, 20'000'000};
    if (sigtimedwait(&ends, nullptr, &moment) > 0) stop_ = true;
    const std::lock_guard lock(mutex);
    for (; told < clients.size() && findings_[told].done && !stop_; ++told)
      tell(clients[told], findings_[told]);
  }
  for (auto& thread : threads) thread.join();
}

// --- what it says ------------------------------------------------------------------------------

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

  void tell(const Client& client, const Findings& findings) {
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
    if (!findings.found()) {
      std::cout << columns_.line({{"- " + client.name, Style::dim}, cell(findings.http)}, colour_)
                << '\n';
      return;
    }
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

// In one sentence; only where people read it.
void sum_up(const std::vector<Findings>& all) {
  std::size_t found = 0, through = 0;
  std::string past;
  for (std::size_t i = 0; i < all.size(); ++i) {
    found += all[i].found();
    through += all[i].through();
    if (all[i].has(Verdict::bypassed)) past += (past.empty() ? "" : ", ") + known_clients()[i].name;
  }
  std::cout << '\n'
            << through << " of " << counted(found, "client") << " found "
            << (through == 1 ? "comes" : "come") << " through";
  if (!past.empty()) std::cout << ". Unguarded and unseen: " << past;
  std::cout << '\n';
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
  Config throw_away = default_config();
  throw_away.state_dir = folder.path;
  const auto echo_authority = CertificateAuthority::open(throw_away);
  if (!echo_authority) return refuse(echo_authority.error());

  signal(SIGPIPE, SIG_IGN);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  std::vector<std::pair<std::string, std::string>> places = {
      {"{ca}", fs::absolute((*authority)->certificate_file()).string()},
      {"{host}", listen.host},
      {"{port}", std::to_string(listen.port)}};
  for (const auto& [name, value] : *variables)
    if (name == "SSL_CERT_FILE") places.emplace_back("{bundle}", value);

  Report report(options.json, places);
  Doctor doctor(config, **authority, folder.path, **echo_authority);
  doctor.examine_all(
      [&](const Client& client, const Findings& findings) { report.tell(client, findings); });
  if (doctor.stopped()) return failed;
  if (!options.json) sum_up(doctor.findings());

  bool well = true;
  for (const auto& each : doctor.findings()) well = well && (!each.found() || each.through());
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
