// Asio's names for sockets; the others are in guard/async.h.
#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "guard/async.h"

namespace ledger {

using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;

}  // namespace ledger
