#pragma once

#include "hadal/core/topology.h"

namespace hadal {

/// A server of two nodes with `cores` cores each, two hardware threads a core: processors 0 ... cores - 1 are the first threads of
/// node 0, then come those of node 1, then the second threads in the same order. This is how Linux numbers most of them.
inline Topology two_node_topology(int cores) {
  Topology topology{{}, {{0, {}, 0}, {1, {}, 0}}};
  for (int id = 0; id < 4 * cores; ++id) {
    const int node = id / cores % 2;
    topology.cpus.push_back({id, node, node, id % cores});
    topology.nodes[static_cast<size_t>(node)].cpus.push_back(id);
  }
  return topology;
}

}  // namespace hadal
