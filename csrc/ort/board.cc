#include "board.h"

#include <map>
#include <mutex>

namespace halve::ort {
namespace {

struct Boards {
  std::mutex lock;
  std::map<std::int64_t, std::shared_ptr<Board>> posted;
  std::int64_t next = 1;
};

Boards& boards() {
  static Boards all;
  return all;
}

}  // namespace

std::int64_t post(const std::shared_ptr<Board>& board) {
  Boards& all = boards();
  const std::lock_guard<std::mutex> guard(all.lock);
  all.posted.emplace(all.next, board);
  return all.next++;
}

void withdraw(std::int64_t number) noexcept {
  Boards& all = boards();
  const std::lock_guard<std::mutex> guard(all.lock);
  all.posted.erase(number);
}

std::shared_ptr<Board> find_board(std::int64_t number) noexcept {
  Boards& all = boards();
  const std::lock_guard<std::mutex> guard(all.lock);
  const auto found = all.posted.find(number);
  return found == all.posted.end() ? nullptr : found->second;
}

}  // namespace halve::ort
