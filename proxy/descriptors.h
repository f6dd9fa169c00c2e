// File descriptors: as many as the system gives, and some kept for what must always work.
#pragma once

#include <sys/resource.h>

#include <cstddef>

namespace ledger {

// Raises this process's limit to the hard one, and from then on keeps some of them from calls, for
// the store, the admin endpoint and name look-ups. Returns the limit of before, for a child that
// expects that.
rlimit raise_descriptor_limit();
void set_descriptor_limit(const rlimit& limit);

// Is this one of those that are kept? The system gives the lowest number that is free, so a call
// that gets one of the last must give it back.
bool is_kept(int descriptor);

// Client connections that can be held at once, each with one of its own to an upstream, when
// `opened_later` more descriptors are opened at the start.
std::size_t connections_possible(std::size_t opened_later);

}  // namespace ledger
