// The minimum cut of a network.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halve {

struct FlowEdge {
  std::uint32_t from;
  std::uint32_t to;
  std::int64_t capacity;  // >= 0
};

// The vertices on the source's side of the smallest of all minimum cuts, ascending: what the source
// still reaches when no more flow fits. It is the same set for every maximum flow. The vertices are
// 0 to vertices - 1, and edges between the same two add up. Takes time as Dinic's algorithm does,
// and memory linear in the edges.
//
// Every number must be below `vertices`, and source and sink two.
std::vector<std::uint32_t> source_side(std::uint32_t vertices, std::span<const FlowEdge> edges,
                                       std::uint32_t source, std::uint32_t sink);

}  // namespace halve
