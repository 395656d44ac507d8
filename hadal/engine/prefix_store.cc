#include "hadal/engine/prefix_store.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "hadal/core/error.h"
#include "hadal/core/log.h"
#include "hadal/io/atomic_file.h"
#include "hadal/io/sha256.h"

namespace hadal::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".kv";
constexpr size_t kDigits = 64;       // of a SHA-256
constexpr size_t kMaxWaiting = 256;  // pages to be written; more than a disk takes are not kept

constexpr std::chrono::hours kTimeToWrite{1};  // a file; no disk is so slow

// name, checksum of the page, page
constexpr size_t kHeaderBytes = 2 * kDigits;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

bool is_name(std::string_view text) {
  return text.size() == kDigits && std::ranges::all_of(text, [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// A file that was being written when its process was killed. One that is young may be another process's at this moment.
void remove_if_left(const fs::directory_entry& entry) {
  const std::string file = entry.path().filename().string();
  const size_t mark = file.find(std::string(kSuffix) + io::kTemporaryMark);
  std::error_code error;
  if (mark == std::string::npos || !is_name(file.substr(0, mark)) || !entry.is_regular_file(error)) return;
  const auto written = entry.last_write_time(error);
  if (!error && fs::file_time_type::clock::now() - written > kTimeToWrite) fs::remove(entry.path(), error);
}

}  // namespace

PrefixStore::PrefixStore(const std::string& folder, int64_t max_bytes, const std::string& identity,
                         const KvCache& cache)
    : folder_(folder), identity_(identity), max_bytes_(max_bytes), cache_(cache) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(ErrorKind::kIo, "{}\n  cannot be made: {}", folder_, error.message());
  fs::permissions(folder_, fs::perms::owner_all, error);  // what people wrote is in there
  scan();
  make_room();
  writer_ = std::thread([this] { run(); });
}

PrefixStore::~PrefixStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  writer_.join();
}

// What is there, the least lately used first. Names that are not ours are left alone.
void PrefixStore::scan() {
  std::vector<std::pair<fs::file_time_type, std::pair<std::string, int64_t>>> found;
  std::error_code error;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    remove_if_left(*at);
    const std::string file = at->path().filename().string();
    std::error_code ignored;
    if (!file.ends_with(kSuffix) || !is_name(file.substr(0, file.size() - kSuffix.size()))) continue;
    if (!at->is_regular_file(ignored) || at->is_symlink(ignored)) continue;
    found.push_back(
        {at->last_write_time(ignored),
         {file.substr(0, file.size() - kSuffix.size()), static_cast<int64_t>(at->file_size(ignored))}});
  }
  if (error) fail(ErrorKind::kIo, "{}\n  cannot be read: {}", folder_, error.message());
  std::ranges::sort(found);
  for (const auto& [time, entry] : found) add(entry.first, entry.second);
}

void PrefixStore::add(const std::string& name, int64_t bytes) {
  const auto use = uses_.insert(uses_.end(), name);
  entries_[name] = {bytes, use};
  bytes_ += bytes;
}

void PrefixStore::drop(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  bytes_ -= found->second.bytes;
  uses_.erase(found->second.use);
  entries_.erase(found);
  std::error_code ignored;
  fs::remove(path(name), ignored);
}

void PrefixStore::make_room() {
  while (bytes_ > max_bytes_ && !uses_.empty()) drop(std::string(uses_.front()));
}

std::string PrefixStore::name_of(const std::string& before, std::string_view salt,
                                 std::span<const int32_t> tokens) const {
  std::string text =
      before.empty() ? io::sha256_hex(bytes_of(identity_)) + io::sha256_hex(bytes_of(salt)) : before;
  text.append(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
  return io::sha256_hex(bytes_of(text));
}

int64_t PrefixStore::page_bytes() const {
  int64_t bytes = 0;
  for (const ops::LayerCache& layer : cache_.layers()) bytes += cache_.page_size() * layer.row_bytes();
  return bytes;
}

// Layer by layer; out: from the cache into `content`.
void PrefixStore::copy_page(int32_t page, std::byte* content, bool out) const {
  for (const ops::LayerCache& layer : cache_.layers()) {
    const auto bytes = static_cast<size_t>(cache_.page_size() * layer.row_bytes());
    std::byte* there = layer.token(int64_t{page} * cache_.page_size());
    std::memcpy(out ? content : there, out ? there : content, bytes);
    content += bytes;
  }
}

bool PrefixStore::read(const std::string& name, int32_t page) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) return false;
    uses_.splice(uses_.end(), uses_, found->second.use);
  }
  std::string content(kHeaderBytes + static_cast<size_t>(page_bytes()) + 1, '\0');
  std::ifstream file(path(name), std::ios::binary);
  file.read(content.data(), std::ssize(content));
  content.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  const bool whole = content.size() == kHeaderBytes + static_cast<size_t>(page_bytes());
  const auto body = bytes_of(content).subspan(std::min(kHeaderBytes, content.size()));
  if (!whole || content.substr(0, kDigits) != name ||
      content.substr(kDigits, kDigits) != io::sha256_hex(body)) {
    log_warning("{}: damaged, and deleted: its prompt is computed again", path(name));
    const std::lock_guard lock(mutex_);
    drop(name);
    return false;
  }
  std::error_code ignored;
  fs::last_write_time(path(name), fs::file_time_type::clock::now(),
                      ignored);  // used now, for the next process too
  copy_page(page, reinterpret_cast<std::byte*>(content.data()) + kHeaderBytes, false);
  return true;
}

void PrefixStore::write(const std::string& name, int32_t page) {
  {
    const std::lock_guard lock(mutex_);
    if (entries_.contains(name) || jobs_.size() >= kMaxWaiting) return;
  }
  Job job{name, std::vector<std::byte>(static_cast<size_t>(page_bytes()))};
  copy_page(page, job.content.data(), true);
  const std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(job));
  wake_.notify_one();
}

int64_t PrefixStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void PrefixStore::run() {
  bool failed = false;
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    try {
      io::AtomicFile file(path(job.name));
      file.append(bytes_of(job.name));
      file.append(bytes_of(io::sha256_hex(job.content)));
      file.append(job.content);
      file.commit();
      const std::lock_guard lock(mutex_);
      if (!entries_.contains(job.name))
        add(job.name, static_cast<int64_t>(kHeaderBytes + job.content.size()));
      make_room();
      if (std::exchange(failed, false)) log_warning("prompts are kept on disk again");
    } catch (const Error& e) {  // a full disk: the server goes on without
      if (!std::exchange(failed, true)) log_warning("prompts are not kept on disk: {}", e.what());
    }
  }
}

}  // namespace hadal::engine
