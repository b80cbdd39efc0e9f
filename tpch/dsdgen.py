"""Makes TPC-DS tables and query texts; runs in an environment of its own, as a script.

DuckDB's generator comes on PyPI as an extension that locks to one version of DuckDB, which is not the one that sord
uses. So this file imports nothing of sord.

    python dsdgen.py tables SCALE_FACTOR FOLDER
    python dsdgen.py queries FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import duckdb_extension_tpcds


def main() -> None:
    """Fills an empty folder."""
    what, *scale_factor, folder = sys.argv[1:]
    out = Path(folder)
    (extension,) = Path(duckdb_extension_tpcds.__file__).parent.rglob("*.duckdb_extension")
    database = out / "dsdgen.duckdb"
    connection = duckdb.connect(str(database), config={"allow_unsigned_extensions": "true"})
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"LOAD '{extension}'")
    if what == "tables":
        connection.execute(f"CALL dsdgen(sf = {float(scale_factor[0])})")
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            connection.execute(f"COPY {table} TO '{out / table}.parquet' (FORMAT parquet)")
    else:
        for number, text in connection.execute("FROM tpcds_queries()").fetchall():
            (out / f"q{number:02d}.sql").write_text(text, encoding="utf-8")
    connection.close()
    database.unlink()


if __name__ == "__main__":
    main()
