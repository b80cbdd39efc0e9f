"""A differential fuzzer: random tables, random queries and random plans, with plain DuckDB as the oracle."""
