"""Reports of stored runs: what they are, their figures and numbers, and how to make them again."""

from __future__ import annotations

from consilience.reports.computations import cells_table, computation_figures
from consilience.reports.downloads import to_csv, to_netcdf_bytes
from consilience.reports.facts import facts, failures, side_by_side, unfinished
from consilience.reports.figures import Drawing, figures, overlaid
from consilience.reports.html import page, report
from consilience.reports.numbers import Table, comparison_table, observables_table
from consilience.reports.replicas import Replicas
from consilience.reports.reproduction import command, missing, python_lines
from consilience.reports.summary import Summary, summaries, summary

__all__ = [
    "Drawing",
    "Replicas",
    "Summary",
    "Table",
    "cells_table",
    "command",
    "comparison_table",
    "computation_figures",
    "facts",
    "failures",
    "figures",
    "missing",
    "observables_table",
    "overlaid",
    "page",
    "python_lines",
    "report",
    "side_by_side",
    "summaries",
    "summary",
    "to_csv",
    "to_netcdf_bytes",
    "unfinished",
]
