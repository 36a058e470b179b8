"""Report: one self-contained page about a run of the chain."""

from tasks.report.stage import ReportConfig, report

__all__ = ["ReportConfig", "report"]
