"""Reports of runs: one HTML file, Markdown and CSV, and advice in words. See README.md."""

from __future__ import annotations

from edgekd.report.advice import advise
from edgekd.report.gather import Entry, ReportedRun, Story, gather
from edgekd.report.page import html_report
from edgekd.report.sheet import csv_report
from edgekd.report.written import markdown_report

__all__ = ["Entry", "ReportedRun", "Story", "advise", "csv_report", "gather", "html_report", "markdown_report"]
