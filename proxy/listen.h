// Binding a listening socket, with errors for people.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger {

// A bound and listening socket. Without SO_REUSEPORT: a second program on the port must fail.
// Error: one line that names the address and what to do.
tl::expected<boost::asio::ip::tcp::acceptor, std::string> listen_on(
    boost::asio::io_context& context, const Endpoint& endpoint);

}  // namespace ledger
