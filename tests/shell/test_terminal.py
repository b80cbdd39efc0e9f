"""The shell on a real (pseudo) terminal."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Terminal:
    def __init__(self, home: Path) -> None:
        self.output = ""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            environment = {
                **os.environ,
                "XDG_STATE_HOME": str(home),
                "TERM": "xterm",
                "COLUMNS": "80",
                "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here answers where the cursor is
                "LINES": "24",
            }
            os.execve(sys.executable, [sys.executable, "-m", "sord.cli", "shell"], environment)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Reads on until the output since the last match holds `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.output!r}"
            self.output += os.read(self.descriptor, 65536).decode(errors="replace")
        self.output = self.output.split(text, 1)[1]

    def wait_for_signals(self, seconds: float = 30) -> None:
        """Waits until Ctrl-C is a signal, which it is not while a line is edited: a statement has begun."""
        deadline = time.monotonic() + seconds
        while not termios.tcgetattr(self.descriptor)[3] & termios.ISIG:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> int:
        """Reads to the end of the process; its exit status."""
        try:
            while os.read(self.descriptor, 65536):
                pass
        except OSError:  # how Linux says that the other side of a terminal is closed
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    terminal.wait_for("sord>")
    yield terminal
    os.close(terminal.descriptor)


def test_a_statement_over_lines_an_error_and_leaving(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("select 40 +\r")
    terminal.type("2 as answer;\r")
    terminal.wait_for("│     42 │")
    terminal.type("select nothing;\r")
    terminal.wait_for("Binder Error")
    terminal.type("select 7 as still_here;\r")
    terminal.wait_for("│          7 │")
    terminal.type("\\q\r")
    assert terminal.end() == 0
    assert "still_here" in (tmp_path / "sord" / "history").read_text()


def test_ctrl_c_cancels_a_statement_and_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.type("select count(*) from range(100000000) a, range(100000000) b;\r")
    terminal.wait_for("b;")
    terminal.wait_for_signals()
    terminal.type("\x03")
    terminal.wait_for("cancelled")
    terminal.wait_for("sord>")
    terminal.type("select 7 as still_here;\r")
    terminal.wait_for("│          7 │")
    terminal.wait_for("sord>")
    terminal.type("\x04")
    assert terminal.end() == 0
