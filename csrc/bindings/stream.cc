#include "halve/stream.h"

#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <variant>

#include "bindings.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using SpanTuple = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>;
using JobTuple = std::tuple<std::uint32_t, int, float, float, std::vector<SpanTuple>>;
using PieceTuple = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, py::bytes>;
using OutputTuple = std::tuple<py::object, std::uint64_t, std::vector<PieceTuple>>;

// A task together with the Python buffers that it points into.
struct Held {
  stream::Task task;
  std::vector<py::buffer_info> buffers;
};

std::string path_of(const py::handle& object) { return object.cast<py::bytes>(); }

bool is_path(const py::handle& object) { return py::isinstance<py::tuple>(object); }

// A path comes as a tuple of one bytes object, so that it cannot be taken for a buffer.
void add_origin(Held& held, const py::handle& object) {
  stream::Origin& origin = held.task.origins.emplace_back();
  if (is_path(object)) {
    origin.path = path_of(object.cast<py::tuple>()[0]);
    return;
  }
  const py::buffer_info& info = held.buffers.emplace_back(object.cast<py::buffer>().request());
  origin.data = static_cast<const std::uint8_t*>(info.ptr);
  origin.nbytes = static_cast<std::uint64_t>(info.size * info.itemsize);
  static const std::uint8_t empty = 0;  // a null pointer would mean a file
  if (origin.data == nullptr) origin.data = &empty;
}

void add_job(Held& held, const JobTuple& tuple) {
  const auto& [origin, action, min_positive, max_finite, spans] = tuple;
  if (action < 0 || action > static_cast<int>(stream::Action::kBFloat16)) {
    throw py::value_error("action is not 0, 1 or 2");
  }
  stream::Job& job = held.task.jobs.emplace_back();
  job.origin = origin;
  job.action = static_cast<stream::Action>(action);
  job.bounds = {min_positive, max_finite};
  for (const auto& [offset, nbytes, item] : spans) job.spans.push_back({offset, nbytes, item});
}

stream::Piece make_piece(const PieceTuple& tuple) {
  const auto& [offset, nbytes, job, literal] = tuple;
  const std::string_view content(literal);
  if (job == stream::kLiteral && content.size() != nbytes) {
    throw py::value_error("a literal piece does not have the size of its bytes");
  }
  return {offset, nbytes, job, reinterpret_cast<const std::uint8_t*>(content.data())};
}

void add_output(Held& held, const OutputTuple& tuple) {
  const auto& [to, nbytes, pieces] = tuple;
  stream::Output& output = held.task.outputs.emplace_back();
  output.nbytes = nbytes;
  for (const PieceTuple& piece : pieces) output.pieces.push_back(make_piece(piece));
  if (is_path(to)) {
    output.path = path_of(to.cast<py::tuple>()[0]);
    return;
  }
  const py::buffer_info& info = held.buffers.emplace_back(to.cast<py::buffer>().request(true));
  if (static_cast<std::uint64_t>(info.size * info.itemsize) < nbytes) {
    throw py::value_error("a buffer is smaller than its output");
  }
  output.data = static_cast<std::uint8_t*>(info.ptr);
}

py::tuple to_tuple(const CastCounts& c) {
  return py::make_tuple(c.elements, c.raised, c.lowered, c.flushed, c.subnormal, c.overflow, c.nan,
                        c.inf, c.max_abs, c.max_abs_error, c.max_rel_error);
}

py::tuple to_tuple(const stream::Result& result) {
  py::list counts;
  for (const CastCounts& part : result.counts) counts.append(to_tuple(part));
  const stream::Failure& failure = result.failure;
  return py::make_tuple(counts, result.bytes_read, result.bytes_written,
                        py::make_tuple(static_cast<int>(failure.fault), failure.index,
                                       failure.offset, failure.job, failure.error));
}

// The caster of a capsule, which the caller keeps; none of None.
const Caster* caster_of(const py::object& object) {
  return object.is_none() ? nullptr
                          : static_cast<const Caster*>(object.cast<py::capsule>().get_pointer());
}

// A run, and the Python objects that it points into. Workers are joined without holding the GIL.
class Stream {
 public:
  Stream(const std::vector<py::object>& origins, const std::vector<JobTuple>& jobs,
         std::vector<OutputTuple> outputs, unsigned threads, std::uint64_t budget_bytes,
         bool direct, py::object caster)
      : caster_(std::move(caster)), outputs_(std::move(outputs)) {
    for (const py::object& origin : origins) add_origin(held_, origin);
    for (const JobTuple& job : jobs) add_job(held_, job);
    for (const OutputTuple& output : outputs_) add_output(held_, output);
    const py::gil_scoped_release unlocked;
    run_.emplace(held_.task, stream::Settings{threads, budget_bytes, direct, caster_of(caster_)});
  }
  ~Stream() {
    const py::gil_scoped_release unlocked;
    run_.reset();
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool wait(std::uint64_t limit_ms) {
    const py::gil_scoped_release unlocked;
    return run_->wait(std::chrono::milliseconds(limit_ms));
  }
  void cancel() noexcept { run_->cancel(); }
  [[nodiscard]] std::uint64_t done_bytes() const noexcept { return run_->done_bytes(); }
  py::tuple finish() {
    stream::Result result;
    {
      const py::gil_scoped_release unlocked;
      result = run_->finish();
    }
    return to_tuple(result);
  }

 private:
  py::object caster_;                 // which the run asks to cast
  std::vector<OutputTuple> outputs_;  // whose literals the task points into
  Held held_;
  std::optional<stream::Run> run_;
};

}  // namespace

void register_stream(py::module_& module) {
  py::class_<Stream>(module, "Stream",
                     "A running task of halve/stream.h; see halve._native.stream.")
      .def(py::init<const std::vector<py::object>&, const std::vector<JobTuple>&,
                    std::vector<OutputTuple>, unsigned, std::uint64_t, bool, py::object>(),
           py::arg("origins"), py::arg("jobs"), py::arg("outputs"), py::kw_only(),
           py::arg("threads"), py::arg("budget_bytes"), py::arg("direct"),
           py::arg("caster") = py::none())
      .def("wait", &Stream::wait, py::arg("limit_ms"))
      .def("cancel", &Stream::cancel)
      .def("done_bytes", &Stream::done_bytes)
      .def("finish", &Stream::finish);
}

}  // namespace halve::bindings
