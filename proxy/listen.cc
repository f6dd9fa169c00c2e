#include "proxy/listen.h"

namespace ledger {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

tl::expected<tcp::acceptor, std::string> listen_on(asio::io_context& context,
                                                   const Endpoint& endpoint) {
  boost::system::error_code error;
  const auto address =
      asio::ip::make_address(endpoint.host == "localhost" ? "127.0.0.1" : endpoint.host, error);
  if (error)
    return tl::unexpected(endpoint.host + " is not an address to listen on: use an IP address");
  const tcp::endpoint at(address, endpoint.port);
  tcp::acceptor acceptor(context);
  acceptor.open(at.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);  // TIME_WAIT only
  if (!error) acceptor.bind(at, error);
  if (!error) acceptor.listen(1024, error);
  if (!error) return acceptor;
  if (error == asio::error::address_in_use)
    return tl::unexpected(
        endpoint.to_string() +
        " is in use: another program (or another ledger) listens there; stop it, or choose "
        "another `listen` address");
  return tl::unexpected("cannot listen on " + endpoint.to_string() + ": " + error.message());
}

}  // namespace ledger
