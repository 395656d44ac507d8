#include "hadal/core/node_memory.h"

#include <array>
#include <cstddef>

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hadal {
namespace {

constexpr int kMostNodes = 1024;  // Linux's own limit
using NodeSet = std::array<unsigned long, kMostNodes / (8 * sizeof(unsigned long))>;

}  // namespace

NodeMemoryScope::NodeMemoryScope(int node) {
  if (node < 0 || node >= kMostNodes) return;
  constexpr int kBits = 8 * sizeof(unsigned long);
  NodeSet nodes{};
  nodes[static_cast<size_t>(node / kBits)] = 1UL << (node % kBits);
  is_set_ = syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes.data(), kMostNodes) == 0;
}

NodeMemoryScope::~NodeMemoryScope() {
  if (is_set_) syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0);
}

}  // namespace hadal
