// SQLite's C interface as two RAII types. Internal to the SQLite store.
//
// Errors stick: the first error of a connection is kept until take_error(), and until then every
// further call does nothing and finds no row. So a transaction's steps need no check each; whoever
// ends the transaction looks at ok() and rolls back as a whole what was spoiled.
//
// Threads: a connection and its statements are used by one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "store/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace ledger::sqlite {

struct DbError {
  int code = 0;          // SQLite's extended result code
  std::string message;   // SQLite's words
  int system_error = 0;  // errno, where there is one
  int primary() const { return code & 0xff; }
};

// One sentence for a person: what failed for the store at `path` and what to do.
std::string words_for(const DbError& error, const std::string& path);

class Connection {
 public:
  // `create`: may make the file. Falls back to reading where the file may not be written.
  // `busy_wait`: how long to wait for other processes' locks. `vfs`: nullptr for the system's.
  // Nothing is read of the file yet.
  static tl::expected<std::unique_ptr<Connection>, DbError> open(
      const std::string& path, bool create, std::chrono::milliseconds busy_wait, const char* vfs);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool ok() const { return !error_; }
  std::optional<DbError> take_error();
  // Remembers the connection's latest error, as `code`.
  void fail(int code);

  // Runs statements that give no rows (rows are dropped).
  void exec(const char* sql);
  // The first column of the first row as a number (0: none).
  std::int64_t number(const char* sql);
  // Rolls back whatever transaction is open, also after an error. No error when none is.
  void rollback();
  // Rows changed by the last INSERT, UPDATE or DELETE / since the connection was opened.
  std::int64_t changes() const;
  std::int64_t total_changes() const;
  bool read_only() const;
  // The path names another file by now, or none: what is written here, nobody will find.
  bool moved() const;
  sqlite3* raw() { return db_; }

 private:
  explicit Connection(sqlite3* db) : db_(db) {}
  sqlite3* db_;
  std::optional<DbError> error_;
};

// A prepared statement. Texts and blobs are bound without a copy: they live until reset().
class Statement {
 public:
  Statement() = default;
  // An error is the connection's; the statement then does nothing.
  Statement(Connection& db, std::string_view sql);
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;

  // Positions count from 1.
  Statement& bind(int position, std::int64_t value);
  Statement& bind(int position, std::uint64_t value);
  Statement& bind(int position, std::string_view text);
  Statement& bind(int position, const Digest& digest);
  Statement& bind_blob(int position, std::string_view bytes);
  Statement& bind_null(int position);

  // True: a row stands. False: no more rows, or an error.
  bool step();
  // Steps to the end and resets.
  void run();
  void reset();

  // Columns count from 0.
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  std::uint64_t natural(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  std::string_view bytes(int column) const;  // until the next step() or reset()
  std::string text(int column) const { return std::string(bytes(column)); }

 private:
  void check(int code);
  Connection* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

// Resets the statement when the scope ends, so that no read stays open.
class Resetting {
 public:
  explicit Resetting(Statement& statement) : statement_(statement) {}
  ~Resetting() { statement_.reset(); }
  Resetting(const Resetting&) = delete;
  Resetting& operator=(const Resetting&) = delete;

 private:
  Statement& statement_;
};

}  // namespace ledger::sqlite
