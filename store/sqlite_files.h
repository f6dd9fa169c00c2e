// Whose the store's files are: they hold answers, requests and a secret.
#pragma once

#include "store/sqlite.h"

namespace ledger::sqlite {

// Before a proxy opens the store at `path` (`file`: without links): files of it, and a link to it,
// that another user (root aside) made are refused. Who owns a file reads it.
tl::expected<void, StoreError> check_owners(const std::string& path, const std::string& file);

// Takes from the files of what was found to be a store what others may do with them. A line for
// each.
std::vector<std::string> tighten_files(const std::string& file);

}  // namespace ledger::sqlite
