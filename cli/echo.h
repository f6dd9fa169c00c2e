// The upstream that `ledger doctor` has clients call: it answers everything, and remembers who
// came.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <string>
#include <thread>

#include "proxy/authority.h"

namespace ledger::cli {

class Echo {
 public:
  // On a free loopback port. http, or https with a certificate for `host` where `authority` is not
  // null. Throws where there is no port to have.
  Echo(const CertificateAuthority* authority, const std::string& host);
  ~Echo();
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;

  std::uint16_t port() const { return port_; }
  bool visited() const { return visited_; }  // has anybody connected?
  bool asked() const { return asked_; }      // has a request come that passed a Ledger?

 private:
  boost::asio::awaitable<void> accept();
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket);
  template <class Stream>
  boost::asio::awaitable<void> answer(Stream& stream);

  boost::asio::io_context context_{1};
  boost::asio::ssl::context tls_{boost::asio::ssl::context::tls_server};
  boost::asio::ip::tcp::acceptor acceptor_;
  const std::uint16_t port_;
  const bool secure_;
  std::atomic<bool> visited_{false}, asked_{false};
  std::thread thread_;
};

}  // namespace ledger::cli
