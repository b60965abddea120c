#include "halve/twin.h"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <memory>

#include "../ort/board.h"
#include "bindings.h"
#include "tuples.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

TwinRule make_rule(double ge, double le, double limit, double rtol, double atol) {
  return {{ge, le}, limit, {rtol, atol, false}};
}

py::tuple as_tuple(const TwinTotals& t) {
  return py::make_tuple(bindings::as_tuple(t.exact), bindings::as_tuple(t.half),
                        bindings::as_tuple(t.total), bindings::as_tuple(t.local), t.exact_over,
                        t.half_over);
}

// Addresses rather than buffers, as for the comparison, in the order of TwinTensors; 0 is no array.
py::tuple twin_at(int backend, const std::array<std::uintptr_t, 4>& arrays, std::uint64_t n,
                  int rounding, int second, double ge, double le, double limit, double rtol,
                  double atol, unsigned threads) {
  TwinTensors tensors;
  tensors.exact = reinterpret_cast<const float*>(arrays[0]);
  tensors.half = reinterpret_cast<const float*>(arrays[1]);
  tensors.local = reinterpret_cast<const float*>(arrays[2]);
  tensors.rounded = reinterpret_cast<float*>(arrays[3]);
  tensors.n = n;
  tensors.rounding = static_cast<TwinRounding>(rounding);
  tensors.second = static_cast<TwinLocal>(second);
  TwinTotals totals;
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    status = twin_threaded(static_cast<Backend>(backend), tensors,
                           make_rule(ge, le, limit, rtol, atol), totals, threads);
  }
  return py::make_tuple(static_cast<int>(status), as_tuple(totals));
}

// A board that is posted for as long as Python has it.
class PostedBoard {
 public:
  PostedBoard(int backend, std::size_t rows, double ge, double le, double limit, double rtol,
              double atol, unsigned threads, std::uint64_t samples)
      : board_(std::make_shared<ort::Board>(
            ort::BoardRule{make_rule(ge, le, limit, rtol, atol), static_cast<Backend>(backend),
                           threads, samples},
            rows)),
        number_(ort::post(board_)) {}
  ~PostedBoard() { ort::withdraw(number_); }
  PostedBoard(const PostedBoard&) = delete;
  PostedBoard& operator=(const PostedBoard&) = delete;

  std::int64_t number() const { return number_; }

  // What was found since the last call.
  py::list take() {
    py::list rows;
    for (ort::Row& row : board_->rows) {
      rows.append(row.made ? py::object(as_row(row)) : py::object(py::none()));
      row = {};
    }
    return rows;
  }

 private:
  static py::object shape(bool there, const ort::Shape& dims) {
    return there ? py::object(py::tuple(py::cast(dims))) : py::object(py::none());
  }
  template <class Totals>
  static py::object maybe(bool there, const Totals& totals) {
    return there ? py::object(bindings::as_tuple(totals)) : py::object(py::none());
  }
  static py::list counted(const ort::Exponents& exponents) {
    py::list found;
    for (std::size_t e = 0; e + 1 < exponents.size(); ++e) {
      if (exponents[e] != 0) found.append(py::make_tuple(static_cast<int>(e) - 127, exponents[e]));
    }
    return found;
  }
  static py::tuple as_row(const ort::Row& row) {
    const TwinTotals& t = row.totals;
    return py::make_tuple(shape(row.has_exact, row.exact_shape),
                          shape(row.has_half, row.half_shape), maybe(row.has_exact, t.exact),
                          maybe(row.has_half, t.half), maybe(row.has_total, t.total),
                          maybe(row.has_local, t.local), t.exact_over, t.half_over,
                          counted(row.exponents), row.sampled);
  }

  std::shared_ptr<ort::Board> board_;
  std::int64_t number_;
};

}  // namespace

void register_twin(py::module_& module) {
  module.def("twin", &twin_at, py::arg("backend"), py::arg("arrays"), py::arg("n"),
             py::arg("rounding"), py::arg("second"), py::arg("ge"), py::arg("le"), py::arg("limit"),
             py::arg("rtol"), py::arg("atol"), py::arg("threads"),
             "Measures n float32 values of both runs at addresses, 0 for none; returns the status "
             "and the totals in the order of TwinTotals. Releases the GIL.");
  py::class_<PostedBoard>(module, "TwinBoard")
      .def(py::init<int, std::size_t, double, double, double, double, double, unsigned,
                    std::uint64_t>(),
           py::arg("backend"), py::arg("rows"), py::arg("ge"), py::arg("le"), py::arg("limit"),
           py::arg("rtol"), py::arg("atol"), py::arg("threads"), py::arg("samples"))
      .def_property_readonly("number", &PostedBoard::number)
      .def("take", &PostedBoard::take);
}

}  // namespace halve::bindings
