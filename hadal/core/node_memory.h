#pragma once

namespace hadal {

/// Until the end of the block, pages that the calling thread is first to write come from the node's memory as long as it has any;
/// -1: no wish. Where Linux does not let a process say so (containers often), they come from the node that the thread runs on.
class NodeMemoryScope {
 public:
  explicit NodeMemoryScope(int node);
  ~NodeMemoryScope();
  NodeMemoryScope(const NodeMemoryScope&) = delete;
  NodeMemoryScope& operator=(const NodeMemoryScope&) = delete;

 private:
  bool is_set_ = false;
};

}  // namespace hadal
