#include "store/sqlite_db.h"

#include <sqlite3.h>

#include <cstring>
#include <utility>

namespace ledger::sqlite {

std::string words_for(const DbError& error, const std::string& path) {
  const auto cause =
      error.system_error ? error.message + ": " + std::strerror(error.system_error) : error.message;
  const auto store = "the store " + path;
  switch (error.primary()) {
    case SQLITE_FULL:
      return "the disk of " + store + " is full, nothing was written: free some space";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return store + " is locked by another process (" + cause +
             "): end what holds it, such as an open sqlite3 shell or a backup";
    case SQLITE_READONLY:
      return store + " is read-only (" + cause + "): let this user write the file and its folder";
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return "cannot open " + store + " (" + cause +
             "): let this user read and write the file and its folder";
    case SQLITE_IOERR:
      return "the disk failed under " + store + " (" + cause + "): check the disk, then restart";
    case SQLITE_CORRUPT:
      return store + " is damaged (" + cause +
             "): restore it from a backup, or move it away and start with an empty one";
    case SQLITE_NOTADB:
      return path + " is not a ledger store (" + cause + "): name another file";
    case SQLITE_TOOBIG:
      return "a record is too large for " + store + " (" + cause + ")";
    default:
      return store + " failed: " + cause;
  }
}

// --- Connection --------------------------------------------------------------------------------

tl::expected<std::unique_ptr<Connection>, DbError> Connection::open(
    const std::string& path, bool create, std::chrono::milliseconds busy_wait, const char* vfs) {
  const int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0) |
                    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
  // SQLite's own accounting of memory costs a lock for each allocation (a tenth of a claim's time)
  // and is read by no one here. Can only be said before the first connection of the process.
  [[maybe_unused]] static const int said = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, vfs);
  if (!db) return tl::unexpected(DbError{code, "out of memory", 0});
  std::unique_ptr<Connection> connection(new Connection(db));
  if (code != SQLITE_OK) {
    connection->fail(code);
    return tl::unexpected(*connection->take_error());
  }
  sqlite3_busy_timeout(db, static_cast<int>(busy_wait.count()));
  return connection;
}

Connection::~Connection() { sqlite3_close_v2(db_); }

std::optional<DbError> Connection::take_error() { return std::exchange(error_, std::nullopt); }

void Connection::fail(int code) {
  if (error_) return;
  const bool ours = (sqlite3_extended_errcode(db_) & 0xff) == (code & 0xff);
  const bool system = (code & 0xff) == SQLITE_CANTOPEN || (code & 0xff) == SQLITE_IOERR;
  error_ = DbError{code, ours ? sqlite3_errmsg(db_) : sqlite3_errstr(code),
                   system ? sqlite3_system_errno(db_) : 0};
}

void Connection::exec(const char* sql) {
  if (!ok()) return;
  const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

std::int64_t Connection::number(const char* sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.integer(0) : 0;
}

void Connection::rollback() {
  // Some errors have rolled back already (https://sqlite.org/lang_transaction.html, section 3).
  if (!sqlite3_get_autocommit(db_)) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

std::int64_t Connection::changes() const { return sqlite3_changes64(db_); }
std::int64_t Connection::total_changes() const { return sqlite3_total_changes64(db_); }
bool Connection::read_only() const { return sqlite3_db_readonly(db_, "main") == 1; }

bool Connection::moved() const {
  int moved = 0;
  return sqlite3_file_control(db_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

// --- Statement ---------------------------------------------------------------------------------

Statement::Statement(Connection& db, std::string_view sql) : db_(&db) {
  if (!db.ok()) return;
  check(sqlite3_prepare_v3(db.raw(), sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &statement_, nullptr));
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(db_, other.db_);
  std::swap(statement_, other.statement_);
  return *this;
}

void Statement::check(int code) {
  if (code != SQLITE_OK) db_->fail(code);
}

Statement& Statement::bind(int position, std::int64_t value) {
  if (statement_) check(sqlite3_bind_int64(statement_, position, value));
  return *this;
}

Statement& Statement::bind(int position, std::uint64_t value) {
  return bind(position, static_cast<std::int64_t>(value));
}

Statement& Statement::bind(int position, std::string_view text) {
  // An empty view may hold a null pointer, which SQLite would take for NULL.
  const char* data = text.empty() ? "" : text.data();
  if (statement_)
    check(sqlite3_bind_text64(statement_, position, data, text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int position, const Digest& digest) {
  return bind_blob(position, {reinterpret_cast<const char*>(digest.data()), digest.size()});
}

Statement& Statement::bind_blob(int position, std::string_view bytes) {
  const char* data = bytes.empty() ? "" : bytes.data();
  if (statement_)
    check(sqlite3_bind_blob64(statement_, position, data, bytes.size(), SQLITE_STATIC));
  return *this;
}

Statement& Statement::bind_null(int position) {
  if (statement_) check(sqlite3_bind_null(statement_, position));
  return *this;
}

bool Statement::step() {
  if (!statement_ || !db_->ok()) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) db_->fail(code);
  return false;
}

void Statement::run() {
  while (step()) {
  }
  reset();
}

void Statement::reset() {
  // Its code repeats step()'s, which is known already.
  if (statement_) sqlite3_reset(statement_);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string_view Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  if (!data) return {};
  return {static_cast<const char*>(data),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

}  // namespace ledger::sqlite
