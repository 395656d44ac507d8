#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace hadal::serve {

/// A statement that is being run; it is ready for the next use when this goes. Errors are Error{kIo}.
class Query {
 public:
  template <class... Args>
  explicit Query(sqlite3_stmt* statement, const Args&... args) : statement_(statement) {
    (bind(args), ...);
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  /// Whether there is a row, or another one.
  bool next();
  int64_t integer(int column) const;
  std::optional<int64_t> integer_or_none(int column) const;
  std::string text(int column) const;

 private:
  void bind(int64_t value);
  void bind(std::string_view value);  // which has to live as long as the query
  void bind(const std::optional<int64_t>& value);

  sqlite3_stmt* statement_;
  int bound_ = 0;
};

/// One SQLite connection; the caller sees to it that one thread uses it at a time.
class Connection {
 public:
  /// Throws kIo. The file has to be there.
  Connection(const std::string& path, bool read_only);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Statements without parameters and results.
  void execute(const std::string& sql);
  /// A query with its parameters. sql is a literal: its statement is kept, so one use has to end before the next begins.
  template <class... Args>
  Query query(std::string_view sql, const Args&... args) {
    return Query(prepare(sql), args...);
  }
  /// The same for what has no rows; returns how many rows it changed.
  template <class... Args>
  int64_t run(std::string_view sql, const Args&... args) {
    Query(prepare(sql), args...).next();
    return changes();
  }
  int64_t pragma(const char* name);
  bool is_read_only() const;

 private:
  sqlite3_stmt* prepare(std::string_view sql);
  int64_t changes() const;

  sqlite3* db_ = nullptr;
  std::unordered_map<std::string_view, sqlite3_stmt*> statements_;
};

/// Locks between processes, on PATH-lock beside the database: SQLite's own file belongs to SQLite alone.
class FileLock {
 public:
  enum class Byte : uint8_t { kServer, kWriter };
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool try_lock(Byte byte);
  void lock(Byte byte);
  void unlock(Byte byte);

 private:
  int fd_;
};

struct DatabaseOptions {
  /// This is the one process that serves: refused when another one does.
  bool serves = false;
  /// A commit waits until the disk has it: survives a power cut too, not only the end of the process.
  bool sync_every_commit = false;
};

/// The accounts' file. Writers hold a lock between processes around each transaction and its checkpoint: no SQLite up to
/// 3.51.2 may commit in one connection while another one checkpoints (its "WAL-reset bug"). Thread-safe.
class Database {
 public:
  using Work = std::function<void(Connection&)>;

  /// Makes the file (mode 0600) and the tables if they are not there. Throws kIo for what cannot be read, or by a server not
  /// written, kConfig
  /// for another program's file or a newer version's, kUsage when another process serves it.
  Database(const std::string& path, const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Runs the work in a transaction and returns when it is committed. Works that come while another commits share the next
  /// transaction; one that throws changes nothing and leaves the others alone. Throws what it throws, and kIo for the disk.
  void write(const Work& work);
  /// Runs queries on what is committed.
  void read(const Work& work);

 private:
  struct Job {
    const Work& work;
    std::exception_ptr error = nullptr;
    bool is_done = false;
  };
  void commit(std::span<Job* const> batch);
  void run_batch(std::span<Job* const> batch);
  void set_up();

  const std::string path_;
  FileLock lock_;
  std::unique_ptr<Connection> writer_, reader_;
  std::mutex reader_mutex_;
  std::mutex queue_mutex_;
  std::condition_variable done_;
  std::vector<Job*> queue_;
  bool is_committing_ = false;
};

}  // namespace hadal::serve
