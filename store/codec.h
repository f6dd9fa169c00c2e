// Lists of text fields as one compact text: fields part by tab, entries end by newline, and those
// bytes (and the backslash) are escaped within a field. Readable in the sqlite3 shell.
#pragma once

#include <string>
#include <string_view>

#include "store/record.h"

namespace ledger::codec {

std::string encode(const Headers& headers);
// Anything that encode() did not make gives what can be read of it.
Headers decode_headers(std::string_view text);

// The latest entries only (history_max).
std::string encode_history(const Record& record);
// Spaces at the end are nothing.
std::vector<HistoryEntry> decode_history(std::string_view text);

}  // namespace ledger::codec
