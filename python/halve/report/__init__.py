"""One versioned record of what was done, and its readers: JSON, plain lines, terminal tables."""

from halve.report.record import SCHEMA_VERSION, ConversionReport, write_json
from halve.report.text import shorten, summary_lines

__all__ = ["SCHEMA_VERSION", "ConversionReport", "shorten", "summary_lines", "write_json"]
