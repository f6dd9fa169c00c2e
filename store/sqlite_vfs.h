// A VFS over another one (https://sqlite.org/vfs.html): what SQLite writes to its log for a
// transaction reaches the kernel in one write, instead of two a page.
//
// SQLite writes frames, a header of 24 bytes and a page each, and the header of a transaction's
// last frame says so (https://sqlite.org/fileformat2.html, section 4.1). They are gathered until
// that one is whole. So all is with the kernel before the transaction is made visible, synced or
// not.
//
// Frames must not be gathered before their transaction commits: had it been rolled back, they would
// come out over those of another process. So connections need PRAGMA cache_spill = OFF.
#pragma once

#include <string>

namespace ledger::sqlite {

constexpr int frame_header_bytes = 24;

// The name to open connections with. `base`: the VFS below; empty: the system's. Registered at its
// first use, for good. A base that there is not is given back, for SQLite to refuse. From any
// thread.
const char* gathering_vfs(const std::string& base);

}  // namespace ledger::sqlite
