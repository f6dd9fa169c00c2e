// What the admin tests share: a running endpoint over a memory store, and a small blocking client.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "admin/admin.h"
#include "admin/json.h"
#include "config/admin_token.h"
#include "tests/store_support.h"

namespace ledger::test {

struct Reply {
  int status = 0;
  std::string body;
  Headers headers;
  bool keep_alive = false;

  std::string operator[](std::string_view name) const {
    for (const auto& [n, value] : headers)
      if (n == name) return value;
    return "";
  }
  Json json() const { return Json::parse(body); }
};

// One connection to 127.0.0.1.
class Client {
 public:
  explicit Client(const std::string& address) : socket_(context_) {
    const auto port = std::stoi(address.substr(address.rfind(':') + 1));
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"),
                     static_cast<boost::asio::ip::port_type>(port)});
  }
  void send(const std::string& bytes) { boost::asio::write(socket_, boost::asio::buffer(bytes)); }
  Reply read(bool to_head = false) {
    namespace http = boost::beast::http;
    http::response_parser<http::string_body> parser;
    parser.skip(to_head);
    http::read(socket_, buffer_, parser);
    Reply reply;
    reply.status = parser.get().result_int();
    reply.body = parser.get().body();
    reply.keep_alive = parser.get().keep_alive();
    for (const auto& field : parser.get())
      reply.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    return reply;
  }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
};

inline Config admin_config(const std::string& yaml) {
  auto config = parse_config(yaml, "ledger.yaml", process_environment);
  REQUIRE_MESSAGE(config.has_value(), config.error().front().to_string());
  config->admin.port = 0;
  return *config;
}

// An endpoint on a port of the system's choice.
struct Endpoints {
  explicit Endpoints(const std::string& yaml = "", Store* other = nullptr)
      : config(admin_config(yaml)), own(*open_store("memory:", true, true)) {
    config.state_dir = state.file("state");
    auto started = AdminServer::start(config, other ? *other : *own, metrics);
    REQUIRE_MESSAGE(started.has_value(), started.error());
    server = std::move(*started);
    metrics.phase = Phase::serving;
  }

  Store& store() { return *own; }
  std::string address() const { return server->address(); }

  // A whole request; Host is the endpoint's own unless `headers` has one first. What may change
  // something shows the token, unless `headers` says what to show.
  std::string request(const std::string& method, const std::string& target, Headers headers = {},
                      const std::string& body = "") const {
    std::string out = method + " " + target + " HTTP/1.1\r\n";
    if (headers.empty() || headers.front().first != "Host")
      headers.emplace(headers.begin(), "Host", address());
    const bool shows = std::any_of(headers.begin(), headers.end(),
                                   [](const auto& h) { return h.first == "Authorization"; });
    if (method != "GET" && method != "HEAD" && !shows)
      headers.emplace_back("Authorization", "Bearer " + *admin_token(config));
    if (!body.empty()) headers.emplace_back("Content-Length", std::to_string(body.size()));
    for (const auto& [name, value] : headers) out += name + ": " + value + "\r\n";
    return out + "\r\n" + body;
  }
  Reply ask(const std::string& method, const std::string& target, Headers headers = {},
            const std::string& body = "") const {
    Client client(address());
    client.send(request(method, target, std::move(headers), body));
    return client.read(method == "HEAD");
  }
  int status(const std::string& method, const std::string& target, Headers headers = {}) const {
    return ask(method, target, std::move(headers)).status;
  }

  TempFolder state;
  Config config;
  std::unique_ptr<Store> own;
  Metrics metrics;
  std::unique_ptr<AdminServer> server;
};

// A record in each state, claimed now by an instance that lives.
inline Record put_in_flight(Store& store, std::uint64_t number) {
  auto write = claim(id_of(number), store.now());
  write.next->owner = *store.join_instance();
  return swapped(test::replace_now(store, std::move(write)));
}
inline Record put_completed(Store& store, std::uint64_t number) {
  const auto record = put_in_flight(store, number);
  return swapped(test::replace_now(store, settle(record, R"({"ok":true})", store.now())));
}
inline Record put_in_doubt(Store& store, std::uint64_t number) {
  auto record = put_in_flight(store, number);
  Replace write;
  write.id = record.id;
  write.expected_version = record.version;
  record.state = State::in_doubt;
  record.effects = 1;
  record.history.push_back({store.now(), "in_doubt", "reset"});
  write.next = record;
  return swapped(test::replace_now(store, write));
}

}  // namespace ledger::test
