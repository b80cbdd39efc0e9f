"""Tables of which a query reads some files or row groups."""

from __future__ import annotations

from dataclasses import replace

from sord.planner.catalog import Clustering, File, Table
from sord.planner.partitions import partition_statistics
from sord.planner.statistics import overlaid


def of_partitions(table: Table, files: tuple[File, ...]) -> Table:
    """The files of some partitions, as far as it is known how that changes the table's statistics.

    A sample is of all of them.
    """
    statistics = overlaid(table.statistics, partition_statistics(table, files))
    return replace(_read_in_part(table, files), statistics=statistics, sample=None)


def without_row_groups(table: Table, files: tuple[File, ...]) -> Table:
    """The row groups that ``files`` don't skip. Which rows are left of all is still told by the whole table."""
    return replace(_read_in_part(table, files), whole=table)


def _read_in_part(table: Table, files: tuple[File, ...]) -> Table:
    rows = float(sum(file.kept_rows for file in files))
    of_all = table.of_all or (len(table.files or ()), sum(len(file.row_groups) for file in table.files or ()))
    # Of all row groups, clusterings count too many rows: parts cut by them would no longer be equal.
    clusterings: tuple[Clustering, ...] = ()
    if table.footers is not None:
        found = [table.footers.clustering(one.column, files) for one in table.clusterings]
        clusterings = tuple(one for one in found if one is not None)
    return replace(table, rows=rows, files=files, clusterings=clusterings, of_all=of_all)
