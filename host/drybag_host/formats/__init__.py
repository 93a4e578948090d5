"""Standard files in and out: vCard, iCalendar, pictures, CSV, Markdown, HTML.

The content lines of a record go through untouched; what interprets them is for people to look at.
"""

from drybag_host.formats.compare import Difference, compare_files
from drybag_host.formats.export import export
from drybag_host.formats.model import Draft, ExportSummary, ImportResult, Problem
from drybag_host.formats.reader import read_file
from drybag_host.formats.rescue import keep_as_note

__all__ = [
    "Difference",
    "Draft",
    "ExportSummary",
    "ImportResult",
    "Problem",
    "compare_files",
    "export",
    "keep_as_note",
    "read_file",
]
