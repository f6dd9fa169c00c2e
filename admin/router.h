// The admin endpoint's answers, without its sockets. Blocking store calls are made here.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>

#include "config/config.h"
#include "guard/metrics.h"
#include "store/store.h"

namespace ledger {

namespace http = boost::beast::http;

class AdminRouter {
 public:
  using Request = http::request<http::string_body>;
  using Response = http::response<http::string_body>;

  // `endpoint`: as bound, known before the first request. All must outlive the router. Any thread.
  AdminRouter(const Config& config, Store& store, const Metrics& metrics, const Endpoint& endpoint)
      : config_(config), store_(store), metrics_(metrics), endpoint_(endpoint) {}

  Response answer(const Request& request) const;

 private:
  Response route(const Request& request, const std::string& path, const std::string& query) const;
  Response record(const Request& request, const std::string& rest) const;
  Response list_records(const std::string& query) const;
  Response resolve(const Request& request, const Digest& id) const;
  Response stats() const;
  Response explain_call(const Request& request) const;
  Response ready() const;
  bool own_name(std::string_view authority) const;
  bool from_a_browser_elsewhere(const Request& request) const;
  bool has_token(const Request& request) const;

  const Config& config_;
  Store& store_;
  const Metrics& metrics_;
  const Endpoint& endpoint_;
};

// Prometheus' text format 0.0.4.
std::string metrics_text(const Metrics& metrics);

}  // namespace ledger
