"""The shell: statements in, tables out, on a terminal or through pipes."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final, Protocol

import duckdb

import sord

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

_PROMPT: Final = "sord> "
_CONTINUED: Final = "   -> "

_HELP: Final = """\
A statement may take several lines and ends with a semicolon.
\\d         the tables and views
\\d NAME    the columns of one
\\?         this help
\\q         leave (as Ctrl-D does); Ctrl-C cancels a statement"""

_WITHOUT_RESULT: Final = {
    duckdb.StatementType.CREATE,
    duckdb.StatementType.DROP,
    duckdb.StatementType.ALTER,
    duckdb.StatementType.SET,
    duckdb.StatementType.TRANSACTION,
    duckdb.StatementType.ATTACH,
    duckdb.StatementType.DETACH,
    duckdb.StatementType.LOAD,
}

# What can hide a semicolon, whole where it ends and otherwise its opening: strings, identifiers, comments,
# dollar quotes. Block comments are found by their opening alone, because they nest.
_TOKEN: Final = re.compile(
    r"""
      (?P<semicolon> ; )
    | (?P<space> \s+ | --[^\n]* )
    | (?P<block> /\* )
    | (?P<quoted> [eE]'(?:[^'\\]|\\.|'')*' | '[^']*' | "[^"]*" | (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag) )
    | (?P<open> [eE]' | ' | " | \$(?:[^\W\d]\w*)?\$ )
    | (?P<word> \w[\w$]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")


def split_statements(text: str) -> tuple[list[str], str]:
    """The complete statements in a text, without their semicolons, and what follows the last of them.

    Empty statements are left out, and a rest of nothing but space and comments is empty.
    """
    statements: list[str] = []
    start = position = 0
    blank = True
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None
        position = token.end()
        kind = token.lastgroup if token.lastgroup != "tag" else "quoted"
        if kind == "semicolon":
            if not blank:
                statements.append(text[start : token.start()].strip())
            start, blank = position, True
        elif kind == "block":
            end = _end_of_block_comment(text, position)
            if end is None:
                return statements, text[start:]
            position = end
        elif kind == "open":
            return statements, text[start:]
        elif kind != "space":
            blank = False
    return statements, "" if blank else text[start:]


def _end_of_block_comment(text: str, position: int) -> int | None:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(text, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return None


def run_command(sql: str, fleet: str | None, folder: str | None, parser: argparse.ArgumentParser) -> int:
    """`sord -c`: runs the statements until one fails; the exit status."""
    statements, rest = split_statements(sql)
    try:
        with _connect(fleet, folder, parser) as db:
            for statement in [*statements, rest] if rest else statements:
                _run(db, statement)
    except (sord.Error, duckdb.Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main(arguments: Sequence[str], program: str = "sord shell") -> int:
    """`sord shell`: reads statements to the end of stdin. Status 1 if one failed where nobody watches."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Reads SQL statements from the terminal or from stdin and shows their results.",
        epilog="example: sord shell --fleet local://4 data/tpch/sf1",
    )
    parser.add_argument(
        "--fleet", metavar="URL", help="the fleet, as local://4?threads=1 (default: in this process)"
    )
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="each file or sub-folder of DIR becomes a table"
    )
    options = parser.parse_args(arguments)
    interactive = sys.stdin.isatty()
    try:
        with _connect(options.fleet, options.folder, parser) as db:
            all_done = _Shell(db, _terminal() if interactive else _Pipe()).loop()
    except (sord.Error, duckdb.Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all_done or interactive else 1


def _connect(fleet: str | None, folder: str | None, parser: argparse.ArgumentParser) -> sord.Connection:
    if folder is not None and not os.path.isdir(folder):
        parser.error(f"{folder} is not a folder")
    db = sord.connect(fleet)
    if folder is not None:
        try:
            db.register_dir(folder)
        except BaseException:
            db.close()
            raise
    return db


def _print(statement: str, relation: sord.Relation | None) -> None:
    """Rows as a table, plans as text, and nothing for statements that have no result."""
    if relation is None or duckdb.extract_statements(statement)[0].type in _WITHOUT_RESULT:
        return
    if relation.columns == ["explain_key", "explain_value"]:
        for _, text in relation.fetchall():
            print(text)
    else:
        relation.show()


def _run(db: sord.Connection, statement: str) -> None:
    """Runs a statement and shows its result; Ctrl-C interrupts it and raises KeyboardInterrupt.

    It runs in another thread, because Python looks at signals only when a call into DuckDB has returned.
    """
    outcome: Future[None] = Future()

    def work() -> None:
        try:
            _print(statement, db.sql(statement))
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    # A daemon, so that a second Ctrl-C leaves also when the interruption is not heard.
    Thread(target=work, name="sord-statement", daemon=True).start()
    try:
        outcome.result()
    except KeyboardInterrupt:
        # More than once: an interruption that comes before the statement has begun is lost.
        while not outcome.done():
            db.interrupt()
            wait([outcome], timeout=0.1)
        raise


class _Input(Protocol):
    interactive: bool

    def read(self, continued: bool) -> str:
        """The next line or lines; EOFError at the end, KeyboardInterrupt on Ctrl-C."""


class _Pipe:
    interactive = False

    def read(self, continued: bool) -> str:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line


class _PlainTerminal:
    interactive = True

    def read(self, continued: bool) -> str:
        return input(_CONTINUED if continued else _PROMPT) + "\n"


class _PromptToolkit:
    """Lines with editing and a history, a statement at a time."""

    interactive = True

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory

        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "sord"
        state.mkdir(parents=True, exist_ok=True)
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(state / "history")),
            multiline=True,
            prompt_continuation=_CONTINUED,
            key_bindings=_enter_ends_statement(),
        )

    def read(self, continued: bool) -> str:
        return self._session.prompt(_CONTINUED if continued else _PROMPT) + "\n"


def _enter_ends_statement() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text
        if text.startswith("\\") or not split_statements(text)[1]:
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return bindings


def _terminal() -> _Input:
    try:
        return _PromptToolkit()
    except ModuleNotFoundError:
        print('no line editing or history: pip install "sord[shell]" adds them', file=sys.stderr)
    except OSError as error:
        print(f"no line editing or history: {error}", file=sys.stderr)
    return _PlainTerminal()


class _Shell:
    def __init__(self, db: sord.Connection, source: _Input) -> None:
        self._db = db
        self._source = source
        self._all_done = True

    def loop(self) -> bool:
        """Reads and runs to the end of the input; whether every statement succeeded."""
        if self._source.interactive:
            print(r"Statements end with a semicolon; \? for help.")
        pending = ""
        while True:
            try:
                text = self._source.read(continued=bool(pending))
            except EOFError:
                # A script's last statement needs no semicolon; on a terminal Ctrl-D drops what was begun.
                if pending and not self._source.interactive:
                    self._attempt(pending)
                return self._all_done
            except KeyboardInterrupt:
                if not self._source.interactive:
                    raise
                pending = ""
                continue
            if not pending and text.lstrip().startswith("\\"):
                if not self._command(text.strip()):
                    return self._all_done
                continue
            pending += text
            # Lines in the middle of a statement are not worth a scan from its beginning.
            if ";" in text or pending == text:
                statements, pending = split_statements(pending)
                for statement in statements:
                    self._attempt(statement)

    def _attempt(self, statement: str) -> None:
        try:
            _run(self._db, statement)
        except KeyboardInterrupt:
            if not self._source.interactive:
                raise
            self._fail("cancelled")
        except (sord.Error, duckdb.Error) as error:
            self._fail(str(error))

    def _command(self, line: str) -> bool:
        """Does a backslash command; False when it is the one that leaves."""
        name, _, argument = line.partition(" ")
        argument = argument.strip().rstrip(";")
        if name == r"\q":
            return False
        if name == r"\?":
            print(_HELP)
        elif name == r"\d":
            self._attempt(f"describe {argument}" if argument else "show tables")
        else:
            self._fail(rf"unknown command {name}; \? lists them")
        return True

    def _fail(self, message: str) -> None:
        self._all_done = False
        sys.stdout.flush()
        print(message, file=sys.stderr, flush=True)
