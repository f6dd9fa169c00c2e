#include "cli/environment.h"

#include <openssl/x509.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdlib>
#include <filesystem>

#include "cli/node_proxy.h"
#include "config/admin_token.h"
#include "config/state_files.h"
#include "fingerprint/url.h"

namespace ledger::cli {
namespace {

namespace fs = std::filesystem;
namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr std::chrono::seconds answer_max{2};  // of an admin endpoint on this machine

constexpr const char* proxy_variables[] = {"HTTP_PROXY",  "http_proxy", "HTTPS_PROXY",
                                           "https_proxy", "ALL_PROXY",  "all_proxy"};
// Where a client takes the file instead of the roots that it has.
constexpr const char* bundle_variables[] = {
    "SSL_CERT_FILE",     "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",     "GIT_SSL_CAINFO",     "PIP_CERT",
    "CARGO_HTTP_CAINFO", "HTTPLIB2_CA_CERTS",  "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HEX_CACERTS_PATH"};
// Where it takes the file beside them.
constexpr const char* extra_variables[] = {"NODE_EXTRA_CA_CERTS", "DENO_CERT"};

std::string value_of(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The files that the user's own environment names.
std::vector<std::string> files_of_the_user(const CertificateAuthority& authority) {
  std::vector<std::string> files;
  const auto add = [&](const char* variable) {
    const auto file = value_of(variable);
    std::error_code error;
    const bool known = std::find(files.begin(), files.end(), file) != files.end() ||
                       fs::equivalent(file, authority.certificate_file(), error);
    if (!known && fs::is_regular_file(file, error)) files.push_back(file);
  };
  for (const auto* variable : bundle_variables) add(variable);
  for (const auto* variable : extra_variables) add(variable);
  return files;
}

std::string system_roots() {
  if (const char* set = std::getenv("SSL_CERT_FILE"); set != nullptr && *set != '\0') return set;
  for (const auto* file :
       {X509_get_default_cert_file(), "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"})
    if (fs::exists(file)) return file;
  return "";
}

// The system's roots (or those of SSL_CERT_FILE), `tls.roots`, `more` files and the CA: for the
// clients whose setting replaces the roots that they have. Returns its path.
tl::expected<std::string, std::string> write_bundle(const Config& config,
                                                    const CertificateAuthority& authority,
                                                    const std::vector<std::string>& more) {
  const auto path = state_file(config, "ca-bundle.pem");
  std::string all = authority.certificate_pem();
  std::vector<std::string> files = config.tls_roots;
  files.insert(files.end(), more.begin(), more.end());
  if (const auto roots = system_roots(); !roots.empty()) files.push_back(roots);
  std::error_code error;
  for (const auto& file : files) {
    if (fs::equivalent(file, path, error)) continue;  // inside `ledger run`: ours already
    const auto text = read_file(file);
    if (!text) return tl::unexpected(text.error());
    if (all.find(*text) != all.npos) continue;
    all += *text;
    if (!all.ends_with('\n')) all += '\n';
  }
  if (auto made = make_state_directory(config); !made) return tl::unexpected(made.error());
  if (auto written = replace_file(path, all, 0644); !written)
    return tl::unexpected(written.error());
  return path;
}

// NODE_OPTIONS with our script: without it Node sends its calls past every proxy.
tl::expected<std::string, std::string> node_options(const Config& config) {
  const auto path = fs::absolute(state_file(config, "node-proxy.cjs")).string();
  if (auto written = replace_file(path, node_proxy, 0644); !written)
    return tl::unexpected(written.error());
  const auto mine = "--require=\"" + path + "\"";
  const auto users = value_of("NODE_OPTIONS");
  if (users.find(mine) != users.npos) return users;
  return users.empty() ? mine : users + " " + mine;
}

}  // namespace

std::optional<std::string> ask_admin(const Config& config, const std::string& path) {
  const auto& admin = config.admin;
  net::io_context context;
  beast::tcp_stream stream(context);
  beast::flat_buffer buffer;
  http::response<http::string_body> answer;
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, admin.to_string());
  if (admin_reads_need_token(config))
    if (const auto token = admin_token(config))
      request.set(http::field::authorization, "Bearer " + *token);
  bool done = false;

  boost::system::error_code error;
  net::ip::tcp::resolver resolver(context);
  const auto addresses = resolver.resolve(admin.host, std::to_string(admin.port), error);
  if (error) return std::nullopt;
  stream.expires_after(answer_max);
  stream.async_connect(addresses, [&](auto failed, auto) {
    if (failed) return;
    http::async_write(stream, request, [&](auto unsent, auto) {
      if (unsent) return;
      http::async_read(stream, buffer, answer, [&](auto unread, auto) { done = !unread; });
    });
  });
  context.run();
  if (!done || answer.result() != http::status::ok) return std::nullopt;
  return std::move(answer.body());
}

namespace {

// The entries of NO_PROXY.
std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> entries;
  while (!list.empty()) {
    const auto entry = list.substr(0, list.find_first_of(", "));
    list.remove_prefix(std::min(list.size(), entry.size() + 1));
    if (!entry.empty()) entries.push_back(entry);
  }
  return entries;
}

// Does an entry of NO_PROXY take `host` past the proxy? As curl and Python read it: a name and all
// below it, a leading dot or `*.` alike, `*` everything.
bool takes(std::string_view entry, std::string_view host) {
  entry = entry.substr(0, entry.rfind(':'));
  if (entry == "*") return true;
  if (entry.starts_with('*')) entry.remove_prefix(1);
  if (entry.starts_with('.')) entry.remove_prefix(1);
  if (entry.empty() || !host.ends_with(entry)) return false;
  return host.size() == entry.size() || host[host.size() - entry.size() - 1] == '.';
}

// `list`, and where clouds tell a machine who it is: libraries ask there on their own, and what
// they get is for that machine alone. IPv6 without brackets: with them httpx takes the list for no
// list.
std::string no_proxy(std::string list) {
  static constexpr const char* metadata[] = {
      "169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200",
      "fd00:ec2::254",   "fd00:ec2::23",  "fd20:ce::254",   "metadata.google.internal"};
  if (list == "*") return list;  // everything already, and only where it stands alone
  for (const auto* host : metadata) {
    const auto entries = split(list);
    if (std::find(entries.begin(), entries.end(), host) != entries.end()) continue;
    if (!list.empty()) list += ',';
    list += host;
  }
  return list;
}

}  // namespace

std::string proxy_url(const Config& config, const Endpoint& listen, const CallerName& caller) {
  auto user = percent_encode(caller.agent);
  // The user is split at its last dot.
  if (!caller.run.empty() || user.find('.') != user.npos) user += "." + percent_encode(caller.run);
  // requests and urllib3 send no credentials where the user is empty: a dot alone names nobody.
  if (!config.auth_token.empty())
    user = (user.empty() ? "." : user) + ":" + percent_encode(config.auth_token);
  // Python's urllib leaves a user without a password out.
  else if (!user.empty())
    user += ":x";
  auto to = listen;
  if (to.host == "0.0.0.0") to.host = "127.0.0.1";
  if (to.host == "::") to.host = "::1";
  return "http://" + user + (user.empty() ? "" : "@") + to.to_string();
}

tl::expected<Variables, std::string> client_environment(const Config& config,
                                                        const Endpoint& listen,
                                                        const CallerName& caller,
                                                        const CertificateAuthority& authority) {
  const auto users = files_of_the_user(authority);
  const auto bundle = write_bundle(config, authority, users);
  if (!bundle) return tl::unexpected(bundle.error());
  const auto node = node_options(config);
  if (!node) return tl::unexpected(node.error());
  const auto url = proxy_url(config, listen, caller);
  const auto combined = fs::absolute(*bundle).string();
  Variables all;
  for (const auto* name : proxy_variables) all.emplace_back(name, url);
  for (const auto& [name, other] : {std::pair{"NO_PROXY", "no_proxy"}, {"no_proxy", "NO_PROXY"}})
    all.emplace_back(name, no_proxy(value_of(name).empty() ? value_of(other) : value_of(name)));
  all.emplace_back("NODE_USE_ENV_PROXY", "1");
  all.emplace_back("NODE_OPTIONS", *node);
  for (const auto* name : bundle_variables) all.emplace_back(name, combined);
  for (const auto* name : extra_variables)
    all.emplace_back(name, value_of(name).empty()
                               ? fs::absolute(authority.certificate_file()).string()
                               : combined);
  return all;
}

std::optional<std::pair<std::string, std::string>> bypassed_host(const Config& config,
                                                                 const std::string& no_proxy) {
  for (const auto entry : split(no_proxy))
    for (const auto& route : config.routes)
      if (route.policy.guarded && takes(entry, route.pattern.host()))
        return std::pair{std::string(route.pattern.host()), std::string(entry)};
  return std::nullopt;
}

tl::expected<std::optional<Endpoint>, std::string> running_proxy(
    const Config& config, const CertificateAuthority& authority) {
  const auto& listen = config.listeners.front().listen;
  if (config.admin.port == 0 || listen.port == 0) return std::nullopt;
  const auto pem = ask_admin(config, "/ca.pem");
  if (!pem || pem->find("-----BEGIN CERTIFICATE-----") == pem->npos) return std::nullopt;
  if (*pem == authority.certificate_pem()) return listen;
  return tl::unexpected("the proxy at " + config.admin.to_string() +
                        " (its admin endpoint) signs with another CA than " +
                        authority.certificate_file() +
                        ": restart it, if that CA was rotated; else it runs with another config");
}

std::vector<std::string> merged_environment(const Variables& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto name = text.substr(0, text.find('='));
    if (std::none_of(variables.begin(), variables.end(),
                     [&](const auto& v) { return v.first == name; }))
      all.emplace_back(text);
  }
  for (const auto& [name, value] : variables) {
    auto& entry = all.emplace_back(name);
    (entry += '=') += value;
  }
  return all;
}

}  // namespace ledger::cli
