#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/core/cpu_list.h"

namespace hadal {

/// A logical processor: one of the hardware threads of a core.
struct Cpu {
  int id = 0, node = 0, socket = 0, core = 0;  // as Linux numbers them; cores within their socket
};

/// A part of the machine that has memory of its own; processors of other nodes reach it more slowly.
struct NumaNode {
  int id = 0;
  CpuList cpus;
  int64_t memory_bytes = 0;
};

/// The processors that are switched on, and where they are.
struct Topology {
  std::vector<Cpu> cpus;  // by id
  std::vector<NumaNode>
      nodes;  // by id; those with processors. Empty where Linux shows none: then all is one node
};

/// root: the folder that holds sys; "" but for tests.
Topology read_topology(const std::string& root = "");

}  // namespace hadal
