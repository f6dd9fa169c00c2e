// Files of the state directory (`state:`): written whole and synced, or not at all. Errors are one
// line that names the file.
#pragma once

#include <sys/types.h>

#include <string>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger {

std::string state_file(const Config& config, const std::string& name);

// Makes the state directory (mode 0700) where it is not there; one that is must be safe.
tl::expected<void, std::string> make_state_directory(const Config& config);
// Whoever can write the state directory can put a CA, a token or a script of their own there: one
// that others may write, or that another user (root aside) owns, is refused. None is fine.
tl::expected<void, std::string> check_state_directory(const Config& config);

// Makes `path`, unless somebody else made it first: then theirs stays.
tl::expected<void, std::string> make_file(const std::string& path, const std::string& text,
                                          mode_t mode);
// Puts `text` in the place of what was there.
tl::expected<void, std::string> replace_file(const std::string& path, const std::string& text,
                                             mode_t mode);
tl::expected<std::string, std::string> read_file(const std::string& path);
// Reads a secret. Refused where another user (root aside) owns it, or where its mode has more of
// 077 than `others_may`; `advice` then follows in the error.
tl::expected<std::string, std::string> read_secret(const std::string& path, mode_t others_may,
                                                   const std::string& advice);
// Is `path` this user's (or root's), and can nobody else change it?
bool is_ours_alone(const std::string& path);

}  // namespace ledger
