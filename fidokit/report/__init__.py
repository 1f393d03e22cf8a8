"""One HTML page that shows a study and opens offline."""

from __future__ import annotations

from fidokit.report.page import write_report as write_report

__all__ = ["write_report"]
