"""Hearing Ctrl-C while the main thread is inside C code that doesn't look for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator


class _Listener:
    """The process's one listener: a thread that reads what Python's C handler writes for each signal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self._owner = 0
        self._previous = -1

    def add(self, action: Callable[[], None]) -> None:
        """From the main thread only."""
        with self._lock:
            if self._owner != os.getpid():  # at first, and in a fork, which has no threads of its parent
                self._owner = os.getpid()
                self._actions.clear()
                self._receiving, self._sending = socket.socketpair()
                self._sending.setblocking(False)
                threading.Thread(target=self._listen, name="ctrl-c", daemon=True).start()
            self._actions.append(action)
            ours = self._sending.fileno()
            replaced = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
            if replaced != ours:
                self._previous = replaced

    def remove(self, action: Callable[[], None]) -> None:
        """From any thread; only the main thread can give the signals back, so another leaves that to it."""
        with self._lock:
            with contextlib.suppress(ValueError):
                self._actions.remove(action)
            if not self._actions and threading.current_thread() is threading.main_thread():
                replaced = signal.set_wakeup_fd(self._previous)
                if replaced != self._sending.fileno():
                    signal.set_wakeup_fd(replaced)  # somebody took them meanwhile

    def _listen(self) -> None:
        receiving = self._receiving
        while numbers := receiving.recv(64):
            self._tell(numbers)

    def _tell(self, numbers: bytes) -> None:
        # Apart from the loop, whose variables would keep the last action, and all it refers to, alive.
        with self._lock:
            actions = list(self._actions) if signal.SIGINT in numbers else []
            previous = self._previous
        for action in actions:
            action()
        if previous != -1:
            with contextlib.suppress(OSError):
                os.write(previous, numbers)


_listener = _Listener()


@contextlib.contextmanager
def on_ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """Call ``action``, in another thread, as soon as Ctrl-C is pressed inside the ``with`` block.

    Python's own handler runs only when the main thread is back in Python. DuckDB may wait there for rows that
    a thread of its own reads from us, so it is ``action`` that has to end the wait. Does nothing outside the
    main thread and where the program has a handler of its own.
    """
    if not _is_ours():
        yield
        return
    _listener.add(action)
    try:
        yield
    finally:
        _listener.remove(action)


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Keep Ctrl-C back until the end of the ``with`` block, which is short.

    For code that asks DuckDB small questions and knows what to do without an answer: DuckDB makes an ordinary error
    of Ctrl-C, which would be taken for one. Does nothing where :func:`on_ctrl_c` does nothing.
    """
    if not _is_ours():
        yield
        return
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed.is_set():
            raise KeyboardInterrupt


def _is_ours() -> bool:
    """Whether this is the main thread of a program without a handler of its own."""
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
