"""Models side by side on one provider: latency, throughput, load time, memory."""

from halve.bench.run import bench

__all__ = ["bench"]
