#include "proxy/session.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace ledger {

Session::Session(Proxy& proxy, Worker& worker, Socket socket, const Listener& listener,
                 std::string client_address, Peers::Place place)
    : proxy_(proxy),
      worker_(worker),
      listener_(listener),
      client_address_(std::move(client_address)),
      place_(std::move(place)),
      stream_(std::move(socket), worker.deadlines),
      reader_(stream_, MessageReader::Side::requests, proxy.config.header_max) {
  proxy_.metrics.accepted.fetch_add(1, std::memory_order_relaxed);
  proxy_.metrics.connections.fetch_add(1, std::memory_order_relaxed);
}

Session::~Session() { proxy_.metrics.connections.fetch_sub(1, std::memory_order_relaxed); }

void Session::start(std::shared_ptr<Session> session) {
  auto& context = session->worker_.context;
  asio::co_spawn(
      context, [session]() -> Awaitable<> { return session->run(); },
      // A failure of one connection (out of memory, a bug) ends that connection alone.
      [session](std::exception_ptr) {});
}

}  // namespace ledger
