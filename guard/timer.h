// The clock and the timer that guard and proxy run on. The simulator is built from the same
// sources, but finds tests/sim/clock/guard/timer.h first: there time is what the simulation says.
// (A matter of the include path, so that the product pays nothing for it.)
#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>

namespace ledger {

using SteadyClock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<SteadyClock, boost::asio::wait_traits<SteadyClock>,
                                                boost::asio::io_context::executor_type>;

}  // namespace ledger
