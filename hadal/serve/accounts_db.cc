#include "hadal/serve/accounts_db.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hadal/core/error.h"

namespace hadal::serve {
namespace {

constexpr int kBusyMilliseconds = 5000;  // a backup or a shell may hold the file for a moment

[[noreturn]] void refuse(sqlite3* db) {
  const char* path = sqlite3_db_filename(db, "main");
  fail(ErrorKind::kIo, "{}\n  SQLite    {} ({})", path == nullptr ? "" : path, sqlite3_errmsg(db),
       sqlite3_extended_errcode(db));
}

void check(sqlite3_stmt* statement, int code) {
  if (code != SQLITE_OK) refuse(sqlite3_db_handle(statement));
}

}  // namespace

Query::~Query() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::bind(int64_t value) {
  check(statement_, sqlite3_bind_int64(statement_, ++bound_, value));
}

void Query::bind(std::string_view value) {
  check(statement_,
        sqlite3_bind_text64(statement_, ++bound_, value.data(), value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Query::bind(const std::optional<int64_t>& value) {
  if (value) return bind(*value);
  check(statement_, sqlite3_bind_null(statement_, ++bound_));
}

bool Query::next() {
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) refuse(sqlite3_db_handle(statement_));
  return code == SQLITE_ROW;
}

int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::optional<int64_t> Query::integer_or_none(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

std::string Query::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return "";
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

Connection::Connection(const std::string& path, bool read_only) {
  const int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &db_, flags, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = db_ == nullptr ? "out of memory" : sqlite3_errmsg(db_);
    sqlite3_close(db_);
    fail(ErrorKind::kIo, "{}\n  SQLite    {}", path, why);
  }
  sqlite3_busy_timeout(db_, kBusyMilliseconds);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  if (read_only) sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

Connection::~Connection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

void Connection::execute(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) refuse(db_);
}

int64_t Connection::pragma(const char* name) {
  sqlite3_stmt* statement = nullptr;
  const std::string sql = std::string("PRAGMA ") + name;
  if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) refuse(db_);
  const std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> owned(statement, sqlite3_finalize);
  Query query(statement);
  return query.next() ? query.integer(0) : 0;
}

bool Connection::is_read_only() const {
  return sqlite3_db_readonly(db_, "main") == 1;
}

sqlite3_stmt* Connection::prepare(std::string_view sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr && sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                                                 SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
    refuse(db_);
  return statement;
}

int64_t Connection::changes() const {
  return sqlite3_changes64(db_);
}

FileLock::FileLock(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  if (fd_ < 0) fail(ErrorKind::kIo, "{}\n  cannot be opened: {}", path, std::strerror(errno));
}

FileLock::~FileLock() {
  close(fd_);
}

namespace {

bool set_lock(int fd, int how, int16_t type, FileLock::Byte byte) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(byte);
  range.l_len = 1;
  int result = 0;
  // Locks of the open file, not of the process: closing another descriptor does not lose them.
  while ((result = fcntl(fd, how, &range)) < 0 && errno == EINTR) {
  }
  if (result == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  fail(ErrorKind::kIo, "the lock beside the database\n  cannot be set: {}", std::strerror(errno));
}

}  // namespace

bool FileLock::try_lock(Byte byte) {
  return set_lock(fd_, F_OFD_SETLK, F_WRLCK, byte);
}

void FileLock::lock(Byte byte) {
  set_lock(fd_, F_OFD_SETLKW, F_WRLCK, byte);
}

void FileLock::unlock(Byte byte) {
  set_lock(fd_, F_OFD_SETLK, F_UNLCK, byte);
}

}  // namespace hadal::serve
