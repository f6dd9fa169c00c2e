// The admin endpoint's answers, without its sockets. Blocking store calls are made here.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "admin/admin.h"
#include "config/config.h"
#include "guard/metrics.h"
#include "store/store.h"

namespace ledger {

namespace http = boost::beast::http;
class CertificateAuthority;

class AdminRouter {
 public:
  using Request = http::request<http::string_body>;
  using Head = http::request_header<>;
  using Response = http::response<http::string_body>;

  // `endpoint`: as bound, known before the first request. All must outlive the router. Any thread.
  AdminRouter(const Config& config, Store& store, const Metrics& metrics, const Endpoint& endpoint,
              AdminServer::Log log, std::shared_ptr<const CertificateAuthority> authority)
      : config_(config),
        store_(store),
        metrics_(metrics),
        endpoint_(endpoint),
        log_(std::move(log)),
        authority_(std::move(authority)) {}

  // Why a request must not be served, told from its head alone, so that a stranger's body is never
  // read: it comes from a page elsewhere, or lacks the token that it needs. nullopt: serve it.
  std::optional<Response> refuse(const Head& head) const;
  // The longest body, in bytes, that a target takes.
  static std::size_t body_max(std::string_view target);

  // Asks refuse() first.
  Response answer(const Request& request) const;

 private:
  Response route(const Request& request, const std::string& path, const std::string& query) const;
  Response record(const Request& request, const std::string& rest) const;
  Response list_records(const std::string& query) const;
  Response resolve(const Request& request, const Digest& id) const;
  Response authority() const;
  Response stats() const;
  Response explain_call(const Request& request) const;
  Response front_page() const;
  Response ready() const;
  void tell(const std::string& what, const Record& record, const std::string& by) const;
  bool own_name(std::string_view authority) const;
  bool from_a_browser_elsewhere(const Head& head) const;
  bool shows_token(const Head& head) const;
  Response ask_for_token() const;

  const Config& config_;
  Store& store_;
  const Metrics& metrics_;
  const Endpoint& endpoint_;
  const AdminServer::Log log_;  // may be empty
  const std::shared_ptr<const CertificateAuthority> authority_;
};

// application/problem+json with the slug, the status and one sentence.
AdminRouter::Response admin_problem(int status, std::string_view slug, const std::string& detail);

// Prometheus' text format 0.0.4.
std::string metrics_text(const Metrics& metrics);

}  // namespace ledger
