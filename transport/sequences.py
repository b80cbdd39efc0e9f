"""The count of what arrived, by which a missing or repeated frame is noticed.

Counted for each connection, not each rank: an exchange never continues on another connection, and a rank that
comes back starts anew without anyone having to say when.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict

from sord.transport.frames import Header, Kind, ProtocolError
from sord.transport.link import Link

_FORGOTTEN_KEPT = 4096  # late frames come within seconds of a query's end, not thousands of queries later
_FINISHED = -1


class Sequences:
    """The next expected sequence number of each (exchange, link). Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: defaultdict[int, dict[tuple[int, Link], int]] = defaultdict(dict)
        self._forgotten: OrderedDict[int, None] = OrderedDict()

    def accept(self, link: Link, header: Header) -> bool:
        """Count a BATCH or FINISH; False if its query is forgotten. :class:`ProtocolError` at a gap."""
        query, exchange = header.exchange.query, header.exchange.exchange
        with self._lock:
            if query in self._forgotten:
                return False
            expected = self._expected[query].get((exchange, link), 0)
            if header.sequence != expected:
                after = "but it had finished" if expected == _FINISHED else f"expected was {expected}"
                raise ProtocolError(
                    f"query {query} exchange {exchange}: frame {header.sequence} came, {after}"
                )
            following = _FINISHED if header.kind is Kind.FINISH else expected + 1
            self._expected[query][exchange, link] = following
            return True

    def forget_query(self, query: int) -> None:
        """Drop a query's state; its frames are not accepted any more."""
        with self._lock:
            self._expected.pop(query, None)
            self._forgotten[query] = None
            while len(self._forgotten) > _FORGOTTEN_KEPT:
                self._forgotten.popitem(last=False)

    def forget_link(self, link: Link) -> None:
        """Drop the counts of a connection that has ended."""
        with self._lock:
            for states in self._expected.values():
                for key in [key for key in states if key[1] is link]:
                    del states[key]
