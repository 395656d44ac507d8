// The accounts' file as a whole: who may open it, its tables, and many writers' changes in one transaction.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "hadal/core/error.h"
#include "hadal/serve/accounts_db.h"

namespace hadal::serve {
namespace {

constexpr int64_t kVersion = 1;               // of the tables; PRAGMA user_version
constexpr int64_t kApplication = 0x6861646C;  // "hadl": whose file it is
constexpr size_t kMostInTransaction = 256;    // so that the first does not wait for all of a crowd

// A month's tokens and the usage page are sums over `usage`, which settling keeps equal to the ledger's.
constexpr const char* kTables = R"(
CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE keys(
  id TEXT PRIMARY KEY, digest TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL, models TEXT NOT NULL,
  requests_per_minute INTEGER, tokens_per_minute INTEGER, concurrent_requests INTEGER, monthly_tokens INTEGER,
  granted INTEGER NOT NULL, topped_up INTEGER, held INTEGER NOT NULL DEFAULT 0,
  held_tokens INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, expires INTEGER, revoked INTEGER)
  WITHOUT ROWID, STRICT;
CREATE TABLE prices(
  model TEXT PRIMARY KEY, cache_hit INTEGER NOT NULL, cache_miss INTEGER NOT NULL, output INTEGER NOT NULL)
  WITHOUT ROWID, STRICT;
CREATE TABLE ledger(
  id INTEGER PRIMARY KEY, key_id TEXT NOT NULL, request_id TEXT NOT NULL, model TEXT NOT NULL,
  created INTEGER NOT NULL, state INTEGER NOT NULL, held INTEGER NOT NULL, held_tokens INTEGER NOT NULL,
  hit_price INTEGER NOT NULL, miss_price INTEGER NOT NULL, output_price INTEGER NOT NULL,
  hit_tokens INTEGER NOT NULL DEFAULT 0, miss_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0, cost INTEGER NOT NULL DEFAULT 0,
  UNIQUE(key_id, request_id)) STRICT;
CREATE INDEX ledger_open ON ledger(id) WHERE state = 0;
CREATE TABLE usage(
  key_id TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
  hit_tokens INTEGER NOT NULL, miss_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  cost INTEGER NOT NULL, PRIMARY KEY(key_id, day, model)) WITHOUT ROWID, STRICT;
INSERT INTO settings VALUES('currency', 'USD');
INSERT INTO prices VALUES('*', 0, 0, 0);
)";

// Before SQLite opens it: closing a descriptor of our own would drop the locks that SQLite has on the file.
void create_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST) fail(ErrorKind::kIo, "{}\n  cannot be made: {}", path, std::strerror(errno));
  if (fd >= 0) close(fd);
}

class WriterLock {
 public:
  explicit WriterLock(FileLock& lock) : lock_(lock) { lock_.lock(FileLock::Byte::kWriter); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;
  ~WriterLock() { lock_.unlock(FileLock::Byte::kWriter); }

 private:
  FileLock& lock_;
};

}  // namespace

Database::Database(const std::string& path, const DatabaseOptions& options)
    : path_(path), lock_(path + "-lock") {
  if (options.serves && !lock_.try_lock(FileLock::Byte::kServer)) {
    fail(ErrorKind::kUsage,
         "{}\n  in use    by another hadal serve\n  hint      one server for each database", path);
  }
  const WriterLock lock(lock_);
  create_file(path);
  writer_ = std::make_unique<Connection>(path, false);
  if (options.serves && writer_->is_read_only()) fail(ErrorKind::kIo, "{}\n  is read-only", path);
  set_up();
  writer_->execute(options.sync_every_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  reader_ = std::make_unique<Connection>(path, true);
}

Database::~Database() {
  reader_.reset();
  lock_.lock(FileLock::Byte::kWriter);  // the last one to close checkpoints; closing the file unlocks
  writer_.reset();
}

void Database::set_up() {
  const int64_t version = writer_->pragma("user_version"), application = writer_->pragma("application_id");
  if (version == 0 && writer_->pragma("schema_version") == 0) {
    writer_->execute("PRAGMA auto_vacuum = INCREMENTAL");  // only an empty file takes it
    writer_->execute("PRAGMA journal_mode = WAL");
    writer_->execute("BEGIN IMMEDIATE");
    writer_->execute(kTables);
    writer_->execute("PRAGMA application_id = " + std::to_string(kApplication));
    writer_->execute("PRAGMA user_version = " + std::to_string(kVersion));
    writer_->execute("COMMIT");
    return;
  }
  if (application != kApplication) {
    fail(ErrorKind::kConfig,
         "{}\n  expected  an accounts database of hadal\n  found     another program's database", path_);
  }
  if (version != kVersion) {
    fail(ErrorKind::kConfig,
         "{}\n  expected  an accounts database of version {}\n  found     version {}\n  hint      a newer "
         "hadal made it",
         path_, kVersion, version);
  }
  writer_->execute("PRAGMA journal_mode = WAL");  // what a copy made with VACUUM INTO has lost
}

void Database::write(const Work& work) {
  Job job{work};
  std::unique_lock lock(queue_mutex_);
  queue_.push_back(&job);
  while (!job.is_done) {
    if (is_committing_) {
      done_.wait(lock);
      continue;
    }
    is_committing_ = true;  // whoever finds nobody at it commits for all that wait
    const auto count = static_cast<std::ptrdiff_t>(std::min(queue_.size(), kMostInTransaction));
    const std::vector<Job*> batch(queue_.begin(), queue_.begin() + count);
    queue_.erase(queue_.begin(), queue_.begin() + count);
    lock.unlock();
    commit(batch);
    lock.lock();
    for (Job* each : batch) each->is_done = true;
    is_committing_ = false;
    done_.notify_all();
  }
  lock.unlock();
  if (job.error) std::rethrow_exception(job.error);
}

// Never throws: what goes wrong belongs to the jobs. A fault of the disk is all jobs' fault, also of those that were
// refused, for they may have been refused for what another one did.
void Database::commit(std::span<Job* const> batch) {
  try {
    run_batch(batch);
  } catch (...) {
    try {
      writer_->execute("ROLLBACK");
    } catch (const Error&) {  // SQLite has rolled back by itself
    }
    for (Job* job : batch) job->error = std::current_exception();
  }
}

void Database::run_batch(std::span<Job* const> batch) {
  const WriterLock lock(lock_);
  writer_->execute("BEGIN IMMEDIATE");
  for (Job* job : batch) {
    if (batch.size() > 1) writer_->run("SAVEPOINT job");
    try {
      job->work(*writer_);
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::kIo) throw;
      job->error = std::current_exception();
    } catch (...) {
      job->error = std::current_exception();
    }
    if (batch.size() == 1 && job->error) return writer_->execute("ROLLBACK");
    if (batch.size() > 1) {
      if (job->error) writer_->run("ROLLBACK TO job");
      writer_->run("RELEASE job");
    }
  }
  writer_->run("COMMIT");
}

void Database::read(const Work& work) {
  const std::lock_guard lock(reader_mutex_);
  work(*reader_);
}

}  // namespace hadal::serve
