// A store in this process's memory: for `store: memory:`, tests and the simulation. Its records end
// with it. `done` is called on the caller's thread, before load() or replace() returns.
#pragma once

#include <memory>

#include "store/clock.h"
#include "store/store.h"

namespace ledger {

std::unique_ptr<Store> make_memory_store(Clock clock = system_now);

}  // namespace ledger
