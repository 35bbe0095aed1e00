"""Tables and figures of a sweep, from MLflow alone."""

from sweeps.report.frames import SweepFrames, load_frames
from sweeps.report.write import report_study, write_report

__all__ = ["SweepFrames", "load_frames", "report_study", "write_report"]
