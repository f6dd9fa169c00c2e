// What the admin endpoint's callers must show, for the proxy that asks and the command line that
// shows it: the config's `admin.token`, or one of our own in the state directory.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger {

// Where it stands, for a person: "`admin.token` of the config", or a file's path.
std::string admin_token_place(const Config& config);

// The token. The one in the state directory is made where it is not there yet: 64 hex digits that
// only this user may read; one that others may read or have put there is refused. Error: one line
// that names the file and says what to do.
tl::expected<std::string, std::string> admin_token(const Config& config);

// Must those who only look show it too?
bool admin_reads_need_token(const Config& config);

}  // namespace ledger
