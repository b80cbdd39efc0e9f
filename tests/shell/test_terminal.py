"""The shell on a real (pseudo) terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Terminal:
    def __init__(self, home: Path) -> None:
        self.output = ""
        self.descriptor, other_side = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sord.cli", "shell"],
            stdin=other_side,
            stdout=other_side,
            stderr=other_side,
            start_new_session=True,
            # Ctrl-C is a signal only to those whose controlling terminal this is.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={
                **os.environ,
                "XDG_STATE_HOME": str(home),
                "TERM": "xterm",
                "COLUMNS": "80",
                "LINES": "24",
                "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here answers where the cursor is
            },
        )
        os.close(other_side)

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
        return self._process.wait()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.descriptor)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    terminal.wait_for("sord>")
    yield terminal
    terminal.close()


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
