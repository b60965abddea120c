#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bindings.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using Members = std::vector<std::size_t>;

// Lists of members in a row, and where each ends.
struct Rows {
  Members members;
  std::vector<std::size_t> ends;

  Rows(const std::vector<Members>& rows, std::size_t units) {
    for (const Members& row : rows) {
      for (const std::size_t unit : row) {
        if (unit >= units) throw py::index_error("a switch of a unit that there is not");
      }
      members.insert(members.end(), row.begin(), row.end());
      ends.push_back(members.size());
    }
  }
};

class SwitchBoard {
 public:
  SwitchBoard(const std::vector<Members>& rounds, const std::vector<Members>& settled,
              std::size_t units)
      : rounds_(rounds, units), settled_(settled, units), units_(units) {
    if (rounds.size() != settled.size()) throw py::value_error("lists of unequal lengths");
  }

  py::array_t<bool> set(const py::iterable& fp32) const {
    std::vector<char> half(units_, 1);
    for (const py::handle unit : fp32) half.at(unit.cast<std::size_t>()) = 0;
    py::array_t<bool> flags(static_cast<py::ssize_t>(rounds_.ends.size()));
    bool* flag = flags.mutable_data();
    const auto is_half = [&](std::size_t unit) { return half[unit] != 0; };
    auto a = rounds_.members.begin(), b = settled_.members.begin();
    for (std::size_t i = 0; i < rounds_.ends.size(); ++i) {
      const auto a_end = rounds_.members.begin() + static_cast<std::ptrdiff_t>(rounds_.ends[i]);
      const auto b_end = settled_.members.begin() + static_cast<std::ptrdiff_t>(settled_.ends[i]);
      flag[i] = std::any_of(a, a_end, is_half) && (b == b_end || !std::all_of(b, b_end, is_half));
      a = a_end;
      b = b_end;
    }
    return flags;
  }

 private:
  Rows rounds_, settled_;
  std::size_t units_;
};

}  // namespace

void register_switches(py::module_& module) {
  py::class_<SwitchBoard>(module, "SwitchBoard")
      .def(py::init<const std::vector<Members>&, const std::vector<Members>&, std::size_t>(),
           py::arg("rounds"), py::arg("settled"), py::arg("units"))
      .def("set", &SwitchBoard::set, py::arg("fp32"),
           "bool[switches]: on where one of `rounds` is not in `fp32`, but not where there are "
           "`settled` and none of them is.");
}

}  // namespace halve::bindings
