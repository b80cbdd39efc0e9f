"""Hearing Ctrl-C while the main thread is inside C code that doesn't look for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """Call ``action``, in another thread, as soon as Ctrl-C is pressed inside the ``with`` block.

    Python's own handler runs only when the main thread is back in Python. DuckDB may wait there for rows that
    a thread of its own reads from us, so it is ``action`` that has to end the wait. Does nothing outside the
    main thread and where the program has a handler of its own.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    previous = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(receiving, previous, action), name="ctrl-c", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        sending.close()


def _watch(receiving: socket.socket, previous: int, action: Callable[[], None]) -> None:
    with receiving:
        while numbers := receiving.recv(64):
            if signal.SIGINT in numbers:
                action()
            if previous != -1:
                with contextlib.suppress(OSError):
                    os.write(previous, numbers)
