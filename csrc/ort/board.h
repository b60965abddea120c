// Where measuring operators of a session leave what they found, and what they are told to measure.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "abi.h"
#include "halve/twin.h"

namespace halve::ort {

using Exponents = std::array<std::uint64_t, 256>;  // elements by their exponent field, zeros not

// One measured output of the model. Comparisons are there only where the shapes were equal.
struct Row {
  bool made = false;  // in this run of the session
  bool has_exact = false;
  bool has_half = false;
  bool has_total = false;
  bool has_local = false;
  Shape exact_shape, half_shape;
  TwinTotals totals;
  Exponents exponents{};
  std::uint64_t sampled = 0;
};

struct BoardRule {
  TwinRule twin;
  Backend backend;
  unsigned threads;
  std::uint64_t samples;  // elements at most that are looked at for the exponents; 0: none
};

// Safe to read only while no session writes.
struct Board {
  Board(const BoardRule& asked, std::size_t count) : rule(asked), rows(count) {}
  BoardRule rule;
  std::vector<Row> rows;
};

// A number under which operators find the board, for as long as it lives.
std::int64_t post(const std::shared_ptr<Board>& board);
void withdraw(std::int64_t number) noexcept;
std::shared_ptr<Board> find_board(std::int64_t number) noexcept;  // or null

}  // namespace halve::ort
