"""Switches of the planner that a connection can turn off, to measure what each is worth and to find mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sord.errors import Error

SWITCHES = ("adapt", "runtime_filters", "split_skew")
"""Fields of the planner's Options."""

_WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def take_switches(url: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, bool]]:
    """A fleet's URL and options without the planner's switches, and the switches.

    They stand among the options or in the URL's query (``local://4?adapt=off``); options win. Raises
    :class:`sord.Error` for a value that is neither true nor false.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    asked: dict[str, Any] = {name: value for name, value in pairs if name in SWITCHES}
    if asked:
        rest = urlencode([pair for pair in pairs if pair[0] not in SWITCHES])
        url = urlunsplit(parts._replace(query=rest))
    asked |= {name: value for name, value in options.items() if name in SWITCHES}
    others = {name: value for name, value in options.items() if name not in SWITCHES}
    return url, others, {name: _switch(name, value) for name, value in asked.items()}


def _switch(name: str, value: object) -> bool:
    known = _WORDS.get(str(value).lower())
    if known is None:
        raise Error(f"{name}={value}: expected on or off")
    return known
