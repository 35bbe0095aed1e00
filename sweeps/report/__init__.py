"""The answer of a sweep: a page, tables and figures, and tidy frames, from MLflow alone."""

from sweeps.report.frames import SweepFrames, load, load_frames
from sweeps.report.write import report_published, report_study, write_report

__all__ = ["SweepFrames", "load", "load_frames", "report_published", "report_study", "write_report"]
