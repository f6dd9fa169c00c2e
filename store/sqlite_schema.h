// The tables of the SQLite store, and how a file comes to have them.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "store/sqlite_db.h"
#include "store/store.h"

namespace ledger::sqlite {

// "LDGR" in the file's header, so that `file` and we know one of ours.
constexpr std::int64_t application_id = 0x4c444752;

// Step i takes a file from version i (PRAGMA user_version; 0: empty) to version i + 1. Steps that
// were released are never changed. All missing steps run in one transaction.
using Migration = void (*)(Connection&);
std::span<const Migration> migrations();

// Makes sure that `db` is a store of the newest version in WAL mode, or says in the error why it is
// not and what to do. A file that is not ours is never touched. `create`: an empty file becomes a
// store. `in_use`: do running proxies hold the store? (they would not survive a migration)
tl::expected<void, StoreError> bring_up(Connection& db, const std::string& path, bool create,
                                        std::span<const Migration> steps,
                                        const std::function<bool()>& in_use);

}  // namespace ledger::sqlite
