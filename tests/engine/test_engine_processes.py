"""Programs that use sord, each in a process of its own: what they import, and how they end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from engine_checks import FLEET, LONG, alive, script, wait_for

_FLEET = f"""
import os, sys, sord
db = sord.connect({FLEET!r})
db.register_dir(sys.argv[1])
db.start()
print(*db.coordinator.pids, flush=True)
"""


def test_the_embedded_engine_imports_little(tpch_sf001: Path) -> None:
    process = script(
        "import sys, sord\n"
        "db = sord.connect()\n"
        "db.register_dir(sys.argv[1])\n"
        "assert db.sql('SELECT count(*) FROM nation').fetchall() == [(25,)]\n"
        "assert db.sql('SELECT ? + 1', params=[1]).fetchall() == [(2,)]\n"
        "db.sql('CREATE TABLE t AS SELECT 1 AS a; SELECT a FROM t').show()\n"
        "db.close()\n"
        "heavy = {'pyarrow', 'numpy', 'sqlglot', 'pandas', 'polars', 'rich', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), 'sord.planner.parse' in sys.modules)",
        tpch_sf001,
    )
    out, errors = process.communicate(timeout=60)
    assert (out.splitlines()[-1], errors, process.returncode) == ("[] False", "", 0)


@pytest.mark.parametrize("ending", ["", "del db", "sys.exit()"])
def test_a_program_that_ends_takes_its_workers_along(tpch_sf001: Path, ending: str) -> None:
    process = script(_FLEET + "db.sql('SELECT count(*) FROM nation').fetchall()\n" + ending, tpch_sf001)
    out, errors = process.communicate(timeout=60)
    assert (errors, process.returncode) == ("", 0)
    wait_for(lambda: not any(alive(int(pid)) for pid in out.split()), "workers are left")


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("how", [".arrow()", ".reader().read_all()"])
def test_ctrl_c_ends_a_program(tpch_sf001: Path, how: str, after: float) -> None:
    """While the text is read, planned, and while it runs."""
    text = f"import threading; threading.Timer({after}, os.kill, (os.getpid(), 2)).start(); db.sql({LONG!r}){how}"
    process = script(_FLEET + text, tpch_sf001)
    out, errors = process.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT
    wait_for(lambda: not any(alive(int(pid)) for pid in out.split()), "workers are left")


def test_ctrl_c_of_the_terminal_reaches_all(tpch_sf001: Path) -> None:
    """It goes to the whole process group, workers included: they leave the decision to the client."""
    text = (
        "import threading; os.setpgid(0, 0); threading.Timer(0.3, os.killpg, (os.getpgid(0), 2)).start()\n"
        f"try: db.sql({LONG!r}).arrow()\n"
        "except KeyboardInterrupt: print(db.sql('SELECT count(*) FROM nation').fetchall(), flush=True)\n"
    )
    # The group has to be there before the workers are.
    process = script(
        "import os; os.setpgid(0, 0)\n" + _FLEET + text.replace("os.setpgid(0, 0); ", ""), tpch_sf001
    )
    out, errors = process.communicate(timeout=60)
    assert (out.splitlines()[1:], errors, process.returncode) == (["[(25,)]"], "", 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_outlive_nobody(tpch_sf001: Path, number: signal.Signals) -> None:
    process = script(_FLEET + f"db.sql({LONG!r}).arrow()", tpch_sf001)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    wait_for(lambda: not any(map(alive, pids)), "workers are left")
