"""From a run directory to a report that a person can read: one HTML file and a table for the terminal."""

from .build import write_report
from .text import headline, summary_table

__all__ = ["headline", "summary_table", "write_report"]
