#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "hadal/core/view.h"

namespace hadal {

/// Scratch memory given out like a stack. A frame takes back, on its end, all that was given out since its start; the
/// memory itself stays for the next step, so a running engine allocates nothing. One thread only. The values are not
/// initialised.
class Arena {
 public:
  class Frame {
   public:
    explicit Frame(Arena& arena) : arena_(&arena), block_(arena.block_), used_(arena.used_) {}
    ~Frame() {
      arena_->block_ = block_;
      arena_->used_ = used_;
    }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Arena* arena_;
    size_t block_;
    int64_t used_;
  };

  [[nodiscard]] Frame frame() { return Frame(*this); }

  template <class T>
  Vec<T> vec(int64_t n) {
    return {allocate<T>(n), {n}};
  }
  template <class T>
  Mat<T> mat(int64_t rows, int64_t cols) {
    return {allocate<T>(rows * cols), {rows, cols}};
  }
  template <class T>
  Cube<T> cube(int64_t a, int64_t b, int64_t c) {
    return {allocate<T>(a * b * c), {a, b, c}};
  }

  /// Bytes held, used or not.
  int64_t capacity() const;

 private:
  static constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector there is
  static constexpr int64_t kMinBlock = int64_t{4}
                                       << 20;  // fewer, larger blocks: 4 MiB holds a small model's step

  struct AlignedDelete {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }
  };
  struct Block {
    std::unique_ptr<std::byte[], AlignedDelete> data;
    int64_t size = 0;
  };

  template <class T>
  T* allocate(int64_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return reinterpret_cast<T*>(allocate_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  std::byte* allocate_bytes(int64_t bytes);

  std::vector<Block> blocks_;
  size_t block_ = 0;  // the block being filled
  int64_t used_ = 0;  // bytes of it
};

}  // namespace hadal
