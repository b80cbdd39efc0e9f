"""Expressions of every kind, over tables and distributed: DuckDB decides."""

from __future__ import annotations

import pytest
from select_tables import assert_distributed, make_tables

from sord.fuzzing.databases import Database


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_tables(tmp_path_factory.mktemp("tables"))


EXPRESSIONS = [
    # literals
    "a, 'it''s', $$a 'quoted' text$$, E'tab\\tend', 1e5, 1.50, 0x1F, 16_000, true, NULL, '101'::BIT, '\\xAA'::BLOB",
    "a, DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00', TIME '12:34:56', INTERVAL 3 DAY, INTERVAL '2' MONTH",
    "a, d + INTERVAL 1 MONTH, d - INTERVAL '10 days', ts + INTERVAL (a) HOUR, d + a, ts - ts",
    # comparisons
    "a, b IS DISTINCT FROM 1, b IS NOT DISTINCT FROM NULL, b IS NULL, b IS NOT NULL, NOT b IS NULL",
    "a, a BETWEEN b AND 20, a NOT BETWEEN 3 AND 5, b IN (1, 2, NULL), b NOT IN (1, 2), b IN (a, 1)",
    "a, (a, b) = (1, 1), (a, b) IN ((1, 1), (2, 2)), (a, b) < (5, 2), ROW(a, b) = ROW(1, 1)",
    "a, s LIKE 'A%', s ILIKE 'A%', s NOT LIKE '%b', s LIKE 'a$%' ESCAPE '$', s GLOB 'a*', s SIMILAR TO 'a.*'",
    "a, s ^@ 'a', starts_with(s, 'a'), s ~ 'a', regexp_matches(s, 'b'), regexp_replace(s, '[aB]', 'z', 'g')",
    "a, x = 'NaN', x > 1, x <> x, isnan(x), x = 0",
    # conditionals
    "a, CASE WHEN b = 1 THEN 'one' WHEN b > 1 THEN 'more' ELSE s END, CASE b WHEN 0 THEN 1 END",
    "a, if(b > 1, a, -a), coalesce(b, a), nullif(b, 1), ifnull(b, 0), greatest(a, b), least(a, b, 3)",
    # arithmetic
    "a, a + b * 2, a / 4, a // 4, a % 4, -a, (a + 1) * (b - 2), a ** 2, a ^ 2, pow(a, 2), a & 6, a | 1, a << 2, ~a, @b",
    "a, x / 2, x * b, abs(-a), round(x, 1), floor(x), ceil(x), sign(b), sqrt(a), ln(a + 1), xor(a, 3)",
    # casts
    "a, a::VARCHAR, s::VARCHAR, TRY_CAST(s AS INTEGER), CAST(a AS DECIMAL(10, 2)), a::DOUBLE, d::TIMESTAMP, ts::DATE",
    "a, [a, b]::BIGINT[], {'k': a}::STRUCT(k VARCHAR), a::UTINYINT, (a > 3)::INTEGER, a::VARCHAR::INTEGER",
    # text
    "a, upper(s), lower(s), length(s), s || '-' || a, concat(s, a), concat_ws(',', s, a), substring(s, "
    "1, 2), left(s, 1)",
    "a, replace(s, 'a', 'z'), trim(s), ltrim(s, 'a'), lpad(s, 5, '*'), position('b' IN s), strpos(s, 'b'), reverse(s)",
    "a, s.upper(), s.replace('a', 'z').lower(), repeat(s, 2), string_split(s, ' '), s[1], s[1:2], format('{}!', s)",
    "a, substring(s FROM 2 FOR 1), trim(BOTH 'a' FROM s), md5(s), printf('%d', a), contains(s, 'a'), ascii(s), hex(s)",
    # dates
    "a, EXTRACT(YEAR FROM d), EXTRACT(dow FROM d), EXTRACT(doy FROM d), EXTRACT(week FROM d), EXTRACT(epoch FROM ts)",
    "a, EXTRACT(quarter FROM d), EXTRACT(isodow FROM d), EXTRACT(microseconds FROM ts), EXTRACT(century FROM d)",
    "a, date_trunc('month', d), date_trunc('hour', ts), date_part('day', ts), year(d), month(d), day(d), hour(ts)",
    "a, strftime(d, '%Y/%m'), strptime('2024-01-02', '%Y-%m-%d'), dayname(d), monthname(d), last_day(d), week(d)",
    "a, date_diff('day', d, DATE '2024-12-31'), date_sub('month', d, DATE '2025-12-31')",
    "a, age(ts, TIMESTAMP '2020-01-01'), make_date(2024, 1, 1 + b), epoch(ts), to_timestamp(a), "
    "time_bucket(INTERVAL 1 DAY, ts)",
    "a, ts AT TIME ZONE 'UTC', (ts AT TIME ZONE 'Europe/Berlin')::VARCHAR, datediff('hour', ts, "
    "TIMESTAMP '2024-03-01')",
    # nested values
    "a, [a, b], [a, b][1], {'k': a, 'v': s}, {'k': a}.k, {'k': a}['k'], MAP {'x': a}, MAP([1, 2], [a, b]), row(a, s)",
    "a, list_transform([a, b], lambda x: x + 1), list_filter([1, 2, a], lambda e: e > 1), [e * 2 FOR e "
    "IN [a, 1] IF e > 1]",
    "a, list_contains([1, b], 1), len([a]), list_sum([a, b]), array_append([a], 1), [1, 2, 3][1:2], [1, "
    "2, 3][-1], range(b)",
    "a, list_sort([b, a]), list_concat([a], [b]), list_reduce([a, 1], lambda p, q: p + q), [[a], "
    "[b]][1][1], flatten([[a], [b]])",
    "a, list_transform([1, 2], lambda e: e + a), list_zip([a], [b]), struct_pack(k := a, v := b), unnest([a, 9])",
    # several
    "a, hash(a) IS NOT NULL, typeof(x), bit_count(a), a IS NOT NULL AND (b = 1 OR s = 'a') AND NOT (a = 3)",
    "a, try(1 / (a - 3)), '{\"k\": 2}'::JSON ->> '$.k', to_json({'z': a})",
]


@pytest.mark.parametrize("items", EXPRESSIONS)
def test_expressions(items: str, database: Database) -> None:
    assert_distributed(database, f"SELECT {items} FROM t")


NESTED = [
    "id, l, st, m",
    "id, st.a, st['b'], st.b || '!', n.st.a + 1, struct_extract(st, 'a')",
    "id, l[1], l[2:], l[:2], len(l), list_transform(l, lambda x: coalesce(x, 0) * 2), list_sum(l), list_distinct(l)",
    "id, m['k'], map_keys(m), map_values(m), cardinality(m), m['none'], element_at(m, 'j')",
    "id, [x + 1 FOR x IN l IF x > 1], list_filter(l, lambda x: x IS NOT NULL), list_contains(l, 3), 3 IN "
    "l, l = [3, 1, NULL]",
    "id, st = {'a': 1, 'b': 'x'}, st IS NULL, l || [7], array_to_string(l, '-')",
    "st, count(*) FROM n GROUP BY st --",
    "l, count(*), max(id) FROM n GROUP BY l ORDER BY l --",
    "DISTINCT m FROM n --",
]


@pytest.mark.parametrize("items", NESTED)
def test_nested_columns(items: str, database: Database) -> None:
    assert_distributed(database, f"SELECT {items} FROM n")
