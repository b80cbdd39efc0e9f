"""DuckDB's functions that read files: what their files are called, and which arguments change no more than rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sord.sql_text import listed, quoted

Options = tuple[tuple[str, str], ...]
"""Named arguments: the lower-case name and the value as SQL."""

_SHARED = (
    "filename", "hive_partitioning", "hive_types", "hive_types_autocast", "union_by_name",
)  # fmt: skip
_PARQUET = ("binary_as_string", "can_have_nan", "file_row_number", "int96_as")
_CSV = (
    "all_varchar", "allow_quoted_nulls", "auto_detect", "auto_type_candidates", "buffer_size", "column_names",
    "column_types", "columns", "comment", "compression", "date_format", "dateformat", "decimal_separator", "delim",
    "delimiter", "dtypes", "encoding", "escape", "files_to_sniff", "force_not_null", "header", "ignore_errors",
    "max_line_size", "maximum_line_size", "names", "new_line", "normalize_names", "null", "null_padding", "nullstr",
    "parallel", "quote", "sample_size", "sep", "separator", "skip", "strict_mode", "thousands", "timestamp_format",
    "timestampformat", "types",
)  # fmt: skip
_JSON = (
    "array", "auto_detect", "case_insensitive_keys", "columns", "compression", "convert_strings_to_integers",
    "date_format", "dateformat", "field_appearance_threshold", "format", "ignore_errors", "map_inference_threshold",
    "maximum_depth", "maximum_object_size", "maximum_sample_files", "records", "sample_size", "timestamp_format",
    "timestampformat",
)  # fmt: skip
_COMPRESSIONS = ("", ".gz", ".zst")
_EXTENSIONS = {
    "read_parquet": (".parquet",),
    "read_csv_auto": tuple(f"{kind}{end}" for kind in (".csv", ".tsv") for end in _COMPRESSIONS),
    "read_json_auto": tuple(
        f"{kind}{end}" for kind in (".json", ".jsonl", ".ndjson") for end in _COMPRESSIONS
    ),
}
FORMATS = {"read_parquet": "Parquet", "read_csv_auto": "CSV", "read_json_auto": "JSON"}
"""What files are called in messages, by the function that DuckDB takes for their names."""
_FUNCTIONS = {
    "read_parquet": _PARQUET, "parquet_scan": _PARQUET, "read_csv": _CSV, "read_csv_auto": _CSV, "read_json": _JSON,
    "read_json_auto": _JSON, "read_ndjson": _JSON, "read_ndjson_auto": _JSON, "read_json_objects": _JSON,
    "read_ndjson_objects": _JSON, "read_json_objects_auto": _JSON,
}  # fmt: skip

_SNIFFED = {"read_csv": ("files_to_sniff", 10), "read_json": ("maximum_sample_files", 32)}
"""How many of the first files tell names and types: the argument and its default."""


class Source(NamedTuple):
    """Files, and how to read them."""

    places: tuple[str, ...]
    """Paths and globs of DuckDB's."""
    function: str = "read_parquet"
    options: Options = ()
    columns: tuple[str, ...] = ()
    """The table's columns in their order; none: what the function gives."""
    renamed: bool = False
    """Whether columns may have other names in the files, so that footers say nothing of them."""

    def call(self, paths: Sequence[str]) -> str:
        """The FROM item that reads ``paths``."""
        call = f"{self.function}({listed(paths)}{rendered(self.options)})"
        return f"(SELECT {', '.join(map(quoted, self.columns))} FROM {call})" if self.columns else call

    @property
    def is_parquet(self) -> bool:
        return _FUNCTIONS[self.function] is _PARQUET

    def binding(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of the files that DuckDB looks into for names and types, in its order. Not for Parquet."""
        options = dict(self.options)
        if is_true(options.get("union_by_name", "false")):
            return paths
        name, default = _SNIFFED["read_csv" if _FUNCTIONS[self.function] is _CSV else "read_json"]
        number = options.get(name, str(default)).strip()
        return paths[: int(number)] if number.isdigit() and int(number) > 0 else paths


def function_of(path: str) -> str | None:
    """The function with which DuckDB reads a file of this name in FROM."""
    name = path.lower()
    return next((function for function, ends in _EXTENSIONS.items() if name.endswith(ends)), None)


def stem(name: str) -> str:
    """The name of a file without its ending."""
    ends = (end for ends in _EXTENSIONS.values() for end in sorted(ends, key=len, reverse=True))
    return next((name[: -len(end)] for end in ends if name.lower().endswith(end)), name)


def extensions(function: str) -> tuple[str, ...]:
    """How the names end of files that ``function`` reads."""
    return _EXTENSIONS[function]


def unknown_option(function: str, options: Options) -> str | None:
    """An argument of which it isn't known that files can be read one by one with it."""
    known = _SHARED + _FUNCTIONS[function]
    return next((name for name, _ in options if name not in known), None)


def is_reader(function: str) -> bool:
    """Whether it is known how to share the files of this function."""
    return function in _FUNCTIONS


def parsed(arguments: Sequence[str]) -> Options:
    """Rendered named arguments: ``header = TRUE``, ``header := TRUE`` or ``header => TRUE``."""
    pairs = (argument.partition("=") for argument in arguments)
    return tuple(
        (name.rstrip(" :").strip().strip('"').lower(), value.lstrip("> ").strip()) for name, _, value in pairs
    )


def rendered(options: Options | Mapping[str, str]) -> str:
    """Further arguments of a function's."""
    pairs = options.items() if isinstance(options, Mapping) else options
    return "".join(f", {name}={value}" for name, value in pairs)


def is_true(value: str) -> bool:
    """Whether SQL for a boolean argument says yes. Raises ValueError for what is no plain literal."""
    text = value.strip().strip("'").lower()
    if text in ("true", "t", "1", "yes"):
        return True
    if text in ("false", "f", "0", "no"):
        return False
    raise ValueError(value)


def file_column(options: Options) -> str | None:
    """The column for a file's path that ``filename`` asks for."""
    value = dict(options).get("filename")
    if value is None:
        return None
    try:
        return "filename" if is_true(value) else None
    except ValueError:
        return value.strip().strip("'").replace("''", "'")


def text_list(columns: Sequence[tuple[str, str]]) -> str:
    """``{"name": TYPE}`` for arguments that take types by names."""
    return "{" + ", ".join(f"{quoted(name)}: {_text(type_)}" for name, type_ in columns) + "}"


def schema_map(columns: Sequence[tuple[str, str]], ids: Sequence[int] = ()) -> str:
    """The argument ``schema`` of DuckDB's: NULL where a file has no such column.

    Columns are found in the files by ``ids`` (Parquet's field ids), or else by their names.
    """
    keys = [str(id_) for id_ in ids] or [_text(name) for name, _ in columns]
    entries = (
        f"{key}: {{'name': {_text(name)}, 'type': {_text(type_)}, 'default_value': NULL}}"
        for key, (name, type_) in zip(keys, columns, strict=True)
    )
    return f"MAP {{{', '.join(entries)}}}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
