"""The count of what arrived, by which a missing or repeated frame is noticed."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict

from sord.transport.frames import Header, Kind, ProtocolError

_FORGOTTEN_KEPT = 4096  # late frames come within seconds of a query's end, not thousands of queries later
_FINISHED = -1


class Sequences:
    """The next expected sequence number of each (exchange, sender). Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: defaultdict[int, dict[tuple[int, int], int]] = defaultdict(dict)
        self._forgotten: OrderedDict[int, None] = OrderedDict()

    def accept(self, header: Header) -> bool:
        """Count a BATCH or FINISH; False if its query is forgotten. :class:`ProtocolError` at a gap."""
        query, exchange = header.exchange.query, header.exchange.exchange
        with self._lock:
            if query in self._forgotten:
                return False
            expected = self._expected[query].get((exchange, header.sender), 0)
            if header.sequence != expected:
                after = "but it had finished" if expected == _FINISHED else f"expected was {expected}"
                raise ProtocolError(
                    f"query {query} exchange {exchange}: frame {header.sequence} came, {after}"
                )
            following = _FINISHED if header.kind is Kind.FINISH else expected + 1
            self._expected[query][exchange, header.sender] = following
            return True

    def forget_query(self, query: int) -> None:
        """Drop a query's state; its frames are not accepted any more."""
        with self._lock:
            self._expected.pop(query, None)
            self._forgotten[query] = None
            while len(self._forgotten) > _FORGOTTEN_KEPT:
                self._forgotten.popitem(last=False)

    def forget_sender(self, sender: int) -> None:
        """Drop what a rank has sent: if it comes back, it starts every exchange anew."""
        with self._lock:
            for states in self._expected.values():
                for key in [key for key in states if key[1] == sender]:
                    del states[key]
