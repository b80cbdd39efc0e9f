"""SQL text to a qualified sqlglot tree: views expanded, names resolved, stars spelled out."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from sord.planner.arrays import arrays
from sord.planner.catalog import Catalog, Table, Unsupported, View
from sord.planner.expand_columns import expand_columns
from sord.planner.expand_unnest import expand_unnests
from sord.planner.fix_context import WITHOUT_PARENTHESES, fix_context
from sord.planner.functions import check_functions
from sord.planner.methods import methods
from sord.planner.normalise import normalise, selected
from sord.planner.normalise_unnest import normalise_unnests
from sord.planner.read import read
from sord.planner.render import literal
from sord.planner.syntax import check_reading
from sord.planner.using import mark_using, resolve_using
from sord.planner.virtual_columns import visible_columns, with_virtual_columns

_VIEW_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Statement:
    """A qualified query and the tables that it scans, by the name that the tree uses."""

    tree: exp.Query
    tables: dict[str, Table]
    capitals: bool
    """Whether a column's name has capital letters: in the tree, derived tables have small ones."""


def parse(sql: str, catalog: Catalog) -> Statement:
    """Parse one query in DuckDB's dialect and resolve its names.

    The caller has had DuckDB describe the text, so it is a valid query; what sqlglot can't read or resolve
    raises :class:`Unsupported`.
    """
    tree = _read(sql, "the statement", catalog)
    tables: dict[str, Table] = {}
    _resolve_tables(tree, catalog, tables, 0)
    _check_names(tree, tables)
    capitals = _has_capitals(tree, tables)
    mark_using(tree, catalog)
    schema = MappingSchema(
        {
            f'"{name}"': {f'"{column}"': "int" for column, _ in table.columns}
            for name, table in tables.items()
        },
        visible=visible_columns(tables),
        dialect="duckdb",
    )
    try:
        # Types are DuckDB's business, so every column is declared an int: only names matter here.
        tree = qualify(
            tree,
            schema=schema,
            dialect="duckdb",
            isolate_tables=False,
            validate_qualify_columns=False,
        )
    except SqlglotError as error:
        raise Unsupported(f"sqlglot cannot resolve the names: {str(error).splitlines()[0]}") from error
    assert isinstance(tree, exp.Query)
    resolve_using(tree)
    return Statement(tree, tables, capitals)


def _has_capitals(tree: exp.Expr, tables: dict[str, Table]) -> bool:
    names = [name for table in tables.values() for name, _ in table.columns]
    names += [node.name for node in tree.find_all(exp.Identifier) if not isinstance(node.parent, exp.Table)]
    return any(name != name.lower() for name in names)


def _check_names(tree: exp.Expr, tables: dict[str, Table]) -> None:
    names = {name.lower() for table in tables.values() for name, _ in table.columns}
    written = {node.name.lower() for node in tree.find_all(exp.Identifier)}
    for name in (names | written) & WITHOUT_PARENTHESES:
        raise Unsupported(f"a column called {name}")
    _check_parameters(tree, names)


def _check_parameters(tree: exp.Expr, names: set[str]) -> None:
    """Refuse parameters that sqlglot might take for columns; of a list comprehension's it knows nothing."""
    for each in tree.find_all(exp.Lambda):
        parameters = {name.name.lower() for name in each.expressions}
        if any(not node.table and node.name.lower() in parameters for node in each.this.find_all(exp.Column)):
            raise Unsupported("a lambda's parameter in letters of another case")
    for comprehension in tree.find_all(exp.Comprehension):
        variables = (comprehension.args["expression"], comprehension.args.get("position"))
        parameters = {variable.name.lower() for variable in variables if variable}
        elsewhere = {
            node.name.lower()
            for node in tree.find_all(exp.Identifier)
            if node.find_ancestor(exp.Comprehension, exp.Lambda) is None
        }
        if parameters & (names | elsewhere):
            raise Unsupported("a list comprehension over a name that something else has")


def _read(sql: str, what: str, catalog: Catalog) -> exp.Query:
    """A query of pure functions that sqlglot reads as DuckDB does."""
    try:
        tree = read(sql)
    except SqlglotError as error:
        raise Unsupported(f"sqlglot cannot parse {what}: {str(error).splitlines()[0]}") from error
    if not isinstance(tree, exp.Query | exp.Values):
        raise Unsupported(f"a {tree.key.upper()} statement is executed by DuckDB")
    _refuse_recursion(tree)
    check_functions(check_reading(sql, tree, catalog), catalog)
    if isinstance(tree, exp.Values):
        tree = selected(tree)
    methods(tree)
    arrays(tree)
    fix_context(tree, catalog)
    _refuse_ambiguous_stars(tree)
    expand_columns(tree, catalog)
    expand_unnests(tree, catalog)
    normalise(tree)
    normalise_unnests(tree)
    return tree


def _refuse_recursion(tree: exp.Expr) -> None:
    """WITH RECURSIVE is a plain WITH where no definition reads itself."""
    for with_ in tree.find_all(exp.With):
        for cte in with_.expressions if with_.args.get("recursive") else ():
            if any(table.name.lower() == cte.alias.lower() for table in cte.this.find_all(exp.Table)):
                raise Unsupported("WITH RECURSIVE")


def _refuse_ambiguous_stars(tree: exp.Expr) -> None:
    """DuckDB replaces the first column of a name and drops the others, or the one of USING; sqlglot does neither."""
    for select in tree.find_all(exp.Select):
        stars = (item for item in select.expressions if isinstance(item, exp.Star))
        if select.args.get("joins") and any(star.args.get("replace") for star in stars):
            raise Unsupported("* REPLACE over several tables")


def _resolve_tables(
    tree: exp.Expr, catalog: Catalog, tables: dict[str, Table], depth: int, inside: View | None = None
) -> None:
    if depth > _VIEW_DEPTH:
        raise Unsupported("views are nested too deeply")
    for node in list(tree.find_all(exp.Table)):
        if isinstance(node.this, exp.Identifier):
            if _is_common_table(node):
                continue
            name = [part.name for part in node.parts]
            view = catalog.view(*name, view=inside)
            if view is not None:
                _expand(node, view, catalog, tables, depth)
                continue
            table = catalog.table(*name, view=inside)
            if table is not None and table.files is not None and table.name != node.name.lower():
                table = with_virtual_columns(table, table.function, [literal(node.name)], tree, catalog)
        elif isinstance(node.this, (exp.Func, exp.ReadParquet)):
            function = node.this
            called = function.name if isinstance(function, exp.Anonymous) else function.sql_name().lower()
            parts = [function.this] if isinstance(function, exp.ReadCSV) else []
            arguments = [part.sql("duckdb") for part in parts + function.expressions]
            table = catalog.scan(called, arguments)
            table = with_virtual_columns(table, called, arguments, tree, catalog)
        else:
            raise Unsupported(f"{type(node.this).__name__} in FROM")
        if table is None:
            raise Unsupported(f"{node.sql('duckdb')} is not a table that can be scanned in parts")
        if any(node.args.get(option) for option in ("sample", "pivots", "when", "ordinality")):
            raise Unsupported("TABLESAMPLE or PIVOT on a table")
        if tables.setdefault(table.name, table).hidden != table.hidden:
            raise Unsupported("a file whose virtual columns are asked for in two ways")
        alias = node.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(_alias(node, table), quoted=True)
        )
        scan = exp.Table(this=exp.Identifier(this=table.name, quoted=True), alias=alias)
        scan.set("joins", node.args.get("joins"))
        node.replace(scan)


def _alias(node: exp.Table, table: Table) -> str:
    """What DuckDB calls a table that has been given no alias: a path goes by its stem, a function by its name."""
    if isinstance(node.this, exp.Anonymous):
        return str(node.this.name)
    if not isinstance(node.this, exp.Identifier):
        return str(node.this.sql("duckdb")).partition("(")[0].lower()
    if table.files is None or table.name == node.name.lower():
        return str(node.name)
    return str(node.name.rpartition("/")[2].partition(".")[0])


def _expand(node: exp.Table, view: View, catalog: Catalog, tables: dict[str, Table], depth: int) -> None:
    body = _read(view.sql, f"the view {node.name}", catalog)
    _resolve_tables(body, catalog, tables, depth + 1, view)
    if node.args.get("joins"):
        raise Unsupported("a parenthesised join that begins with a view")
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(node.name, quoted=True))
    node.replace(exp.Subquery(this=body, alias=alias))


def _is_common_table(node: exp.Table) -> bool:
    """Whether a WITH in scope defines the name; a definition sees only the ones before it."""
    if node.args.get("db"):
        return False
    inner: exp.Expr = node
    scope = node.parent
    while scope is not None:
        with_ = scope.args.get("with_")
        defined = with_.expressions if isinstance(with_, exp.With) and with_ is not inner else []
        if any(cte.alias.lower() == node.name.lower() for cte in defined):
            return True
        if isinstance(scope, exp.With):
            for cte in scope.expressions:
                if cte is inner:
                    break
                if cte.alias.lower() == node.name.lower():
                    return True
        inner, scope = scope, scope.parent
    return False
