"""Where one statement ends and the next begins."""

from __future__ import annotations

import pytest

from sord.shell import split_statements


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("select 1;", ["select 1"], ""),
        ("select 1; select 2;", ["select 1", "select 2"], ""),
        ("select 1; select", ["select 1"], " select"),
        ("select\n  1\n;", ["select\n  1"], ""),
        (";;  ;", [], ""),
        ("", [], ""),
        ("  \n", [], ""),
        ("select ';';", ["select ';'"], ""),
        ("select 'it''s;';", ["select 'it''s;'"], ""),
        ("select ';", [], "select ';"),
        (r"select e'\';';", [r"select e'\';'"], ""),
        (r"select '\'; select 2;", [r"select '\'", "select 2"], ""),
        ("select name'x;';", ["select name'x;'"], ""),
        ('select 1 as ";";', ['select 1 as ";"'], ""),
        ('select 1 as "a"";b";', ['select 1 as "a"";b"'], ""),
        ('select 1 as "', [], 'select 1 as "'),
        ("select $$;$$;", ["select $$;$$"], ""),
        ("select $a$ $$ ; $b$ $a$;", ["select $a$ $$ ; $b$ $a$"], ""),
        ("select $a$ ; $$ ;", [], "select $a$ ; $$ ;"),
        ("select $1; select $2;", ["select $1", "select $2"], ""),
        ("select a$b$c; select 1;", ["select a$b$c", "select 1"], ""),
        ("select 1 -- ; '\n;", ["select 1 -- ; '"], ""),
        ("-- only a comment", [], ""),
        ("-- a comment\n;", [], ""),
        ("-- why\nselect 1;", ["-- why\nselect 1"], ""),
        ("select /* ; */ 1;", ["select /* ; */ 1"], ""),
        ("select /* /* ; */ ; */ 1;", ["select /* /* ; */ ; */ 1"], ""),
        ("/* begun ;", [], "/* begun ;"),
        ("select 1 - -1; select 2 / 3;", ["select 1 - -1", "select 2 / 3"], ""),
        ("select 'ä;', x'00';", ["select 'ä;', x'00'"], ""),
    ],
)
def test_split(text: str, statements: list[str], rest: str) -> None:
    assert split_statements(text) == (statements, rest)
