#include "halve/min_cut.h"

#include <algorithm>
#include <cstddef>

namespace halve {
namespace {

constexpr std::int32_t kUnreached = -1;

// What is left of every edge, and of its reverse, which is beside it: arc i's is arc i ^ 1.
class Residual {
 public:
  Residual(std::uint32_t vertices, std::span<const FlowEdge> edges)
      : first_(vertices + 1, 0),
        to_(2 * edges.size()),
        left_(2 * edges.size(), 0),
        arcs_(2 * edges.size()),
        level_(vertices),
        next_(vertices) {
    for (const FlowEdge& edge : edges) {
      ++first_[edge.from + 1];
      ++first_[edge.to + 1];
    }
    for (std::uint32_t v = 0; v < vertices; ++v) first_[v + 1] += first_[v];
    std::vector<std::size_t> place(first_.begin(), first_.end() - 1);
    for (std::size_t i = 0; i < edges.size(); ++i) {
      to_[2 * i] = edges[i].to;
      to_[2 * i + 1] = edges[i].from;
      left_[2 * i] = edges[i].capacity;
      arcs_[place[edges[i].from]++] = 2 * i;
      arcs_[place[edges[i].to]++] = 2 * i + 1;
    }
  }

  // Numbers vertices by their distance from the source; whether the sink has one.
  bool number(std::uint32_t source, std::uint32_t sink) {
    std::fill(level_.begin(), level_.end(), kUnreached);
    level_[source] = 0;
    std::vector<std::uint32_t> waiting{source};
    for (std::size_t at = 0; at < waiting.size(); ++at) {
      const std::uint32_t v = waiting[at];
      for (std::size_t i = first_[v]; i < first_[v + 1]; ++i) {
        const std::size_t arc = arcs_[i];
        if (left_[arc] == 0 || level_[to_[arc]] != kUnreached) continue;
        level_[to_[arc]] = level_[v] + 1;
        waiting.push_back(to_[arc]);
      }
    }
    return level_[sink] != kUnreached;
  }

  // Fills paths of ascending numbers until there is none. A path is kept in a vector: networks are
  // as deep as models are long.
  void fill(std::uint32_t source, std::uint32_t sink) {
    std::copy(first_.begin(), first_.end() - 1, next_.begin());
    std::vector<std::size_t> path;
    std::uint32_t v = source;
    for (;;) {
      if (v == sink) {
        v = push(path);
        continue;
      }
      if (advance(v, path)) continue;
      if (v == source) return;
      level_[v] = kUnreached;  // a dead end
      v = to_[path.back() ^ 1];
      path.pop_back();
    }
  }

  std::vector<std::uint32_t> reached() const {
    std::vector<std::uint32_t> found;
    for (std::uint32_t v = 0; v < level_.size(); ++v) {
      if (level_[v] != kUnreached) found.push_back(v);
    }
    return found;
  }

 private:
  bool advance(std::uint32_t& v, std::vector<std::size_t>& path) {
    for (std::size_t& i = next_[v]; i < first_[v + 1]; ++i) {
      const std::size_t arc = arcs_[i];
      if (left_[arc] == 0 || level_[to_[arc]] != level_[v] + 1) continue;
      path.push_back(arc);
      v = to_[arc];
      return true;
    }
    return false;
  }

  // Sends what fits along a path, and shortens it to before its first full arc; where that begins.
  std::uint32_t push(std::vector<std::size_t>& path) {
    std::int64_t least = left_[path.front()];
    for (const std::size_t arc : path) least = std::min(least, left_[arc]);
    std::size_t full = path.size();
    for (std::size_t i = path.size(); i-- > 0;) {
      left_[path[i]] -= least;
      left_[path[i] ^ 1] += least;
      if (left_[path[i]] == 0) full = i;
    }
    const std::uint32_t from = to_[path[full] ^ 1];
    path.resize(full);
    return from;
  }

  std::vector<std::size_t> first_;  // of a vertex's arcs in arcs_
  std::vector<std::uint32_t> to_;
  std::vector<std::int64_t> left_;
  std::vector<std::size_t> arcs_;
  std::vector<std::int32_t> level_;
  std::vector<std::size_t> next_;  // a vertex's first arc that may lead on
};

}  // namespace

std::vector<std::uint32_t> source_side(std::uint32_t vertices, std::span<const FlowEdge> edges,
                                       std::uint32_t source, std::uint32_t sink) {
  Residual residual(vertices, edges);
  while (residual.number(source, sink)) residual.fill(source, sink);
  return residual.reached();
}

}  // namespace halve
