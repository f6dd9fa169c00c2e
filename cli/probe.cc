#include "cli/probe.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <sstream>
#include <thread>

#include "cli/echo.h"
#include "cli/terminal.h"
#include "proxy/server.h"

namespace ledger::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* echo_host = "doctor.ledger.invalid";  // RFC 6761: never in DNS
constexpr std::chrono::seconds call_max{10};
constexpr std::chrono::seconds settle_max{2};  // for what a client has left behind on its way out
constexpr std::size_t reason_columns = 160;

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

// A proxy with one route, to the echo. Lines of its log are kept.
class Doctored {
 public:
  Doctored(const Config& users, const std::string& echo_root) : config_(users) {
    config_.listeners = {Listener{{"127.0.0.1", 0}, std::nullopt, {}}};
    config_.mounts.clear();
    config_.routes = {
        {"doctor", *RoutePattern::parse("* " + std::string(echo_host) + "/**"), unguarded()}};
    config_.addresses = {{echo_host, "127.0.0.1"}};
    config_.egress = {};
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

}  // namespace

Ended Probe::run(const Client& client, const std::string& program, const std::string& url,
                 Variables variables) const {
  const auto filled = [&](std::string text) {
    replace_all(text, "{url}", url);
    replace_all(text, "{folder}", folder_);
    return text;
  };
  std::vector<std::string> command = {program};
  for (const auto& argument : client.call) command.push_back(filled(argument));
  for (const auto& [name, value] : client.variables) variables.emplace_back(name, filled(value));
  return run_child(command, merged_environment(variables), call_max, stop_);
}

// Java is told of the proxy in JAVA_TOOL_OPTIONS. Where that is done, by its port in the config, it
// holds for the proxy here as well.
Variables Probe::with_java(Variables variables, const Endpoint& listen) const {
  constexpr const char* name = "JAVA_TOOL_OPTIONS";
  const char* const options = std::getenv(name);
  const bool set = std::any_of(variables.begin(), variables.end(),
                               [&](const auto& v) { return v.first == name; });
  if (options == nullptr || set) return variables;
  std::string moved = options;
  replace_all(moved, "Port=" + std::to_string(config_.listeners.front().listen.port),
              "Port=" + std::to_string(listen.port));
  variables.emplace_back(name, moved);
  return variables;
}

Finding Probe::call(const Client& client, const std::string& program, bool secure) const {
  Echo echo(secure ? &echo_authority_ : nullptr, echo_host);
  Doctored proxy(config_, echo_authority_.certificate_file());
  const auto listen = proxy.start();
  if (!listen) return {Verdict::failing, "the proxy for it did not start: " + listen.error()};
  auto variables = client_environment(config_, *listen, {"doctor", ""}, authority_);
  if (!variables) return {Verdict::failing, variables.error()};
  *variables = with_java(std::move(*variables), *listen);
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
    return {refused ? Verdict::refused_ca : Verdict::failing, words};
  }
  run(client, program, url_of("127.0.0.1"), *variables);
  if (echo.visited() && !proxy.visited()) return {Verdict::bypassed, {}};
  return {Verdict::failing, words};
}

Findings Probe::examine(const Client& client) const {
  Findings findings;
  const auto program = on_path(client.program);
  if (program.empty()) return findings;
  if (!client.exists.empty()) {
    std::vector<std::string> command = {program};
    command.insert(command.end(), client.exists.begin(), client.exists.end());
    if (!run_child(command, merged_environment({}), call_max, stop_).fine()) return findings;
  }
  findings.program = program;
  const auto safely = [&](bool secure) -> Finding {
    try {
      return call(client, program, secure);
    } catch (const std::exception& error) {
      return {Verdict::failing, error.what()};
    }
  };
  findings.http = safely(false);
  findings.https = safely(true);
  return findings;
}

}  // namespace ledger::cli
