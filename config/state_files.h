// Files of the state directory (`state:`): written whole and synced, or not at all. Errors are one
// line that names the file.
#pragma once

#include <sys/types.h>

#include <string>
#include <tl/expected.hpp>

#include "config/config.h"

namespace ledger {

std::string state_file(const Config& config, const std::string& name);

// Makes the state directory (mode 0700) where it is not there.
tl::expected<void, std::string> make_state_directory(const Config& config);

// Makes `path`, unless somebody else made it first: then theirs stays.
tl::expected<void, std::string> make_file(const std::string& path, const std::string& text,
                                          mode_t mode);
// Puts `text` in the place of what was there.
tl::expected<void, std::string> replace_file(const std::string& path, const std::string& text,
                                             mode_t mode);
tl::expected<std::string, std::string> read_file(const std::string& path);

}  // namespace ledger
