"""The task `sql`: which queries are right, which are refused, and what a query cannot reach."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.sql import BadQuery, Database, is_ordered, parse_select, same_rows

SCRIPT = """
CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT, country TEXT, people INTEGER);
INSERT INTO city VALUES (1, 'Paris', 'FR', 2100), (2, 'Lyon', 'FR', 520), (3, 'Bern', 'CH', 130);
INSERT INTO city VALUES (4, 'Nice', 'FR', 340);
CREATE TABLE visit (city_id INTEGER, day TEXT, cost REAL, extra TEXT);
INSERT INTO visit VALUES (1, '2024-01-01', 10.5, '{"a": 1}'), (1, '2024-01-02', 20.25, NULL);
INSERT INTO visit VALUES (3, '2024-02-01', 0.1, '{"a": 2}');
CREATE VIEW french AS SELECT * FROM city WHERE country = 'FR';
"""

NUMBERS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT "


def judge(response, query=None, **reference):
    reference = {"schema": SCRIPT} | reference | ({"query": query} if query else {})
    return load_tasks()["sql"].function(RewardRequest(task="sql", response=response, reference=reference))


VALID = [
    "SELECT name, RANK() OVER (PARTITION BY country ORDER BY people DESC) FROM city",
    "SELECT name || ' (' || country || ')' FROM city",
    "SELECT iif(people > 500, 'big', 'small') FROM city",
    "SELECT name FROM city WHERE name GLOB 'P*' OR name LIKE '%n' ESCAPE '\\'",
    "SELECT json_extract(extra, '$.a'), extra ->> '$.a' FROM visit",
    "SELECT name FROM city ORDER BY name COLLATE NOCASE DESC NULLS LAST LIMIT 2 OFFSET 1",
    "SELECT name FROM city LIMIT 1, 2",
    'SELECT [name], `country`, "people" FROM city',
    "SELECT strftime('%Y-%m', day), total(cost), group_concat(city_id, ';') FROM visit GROUP BY 1 HAVING count(*) > 0",
    "SELECT c.name, v.cost FROM city c LEFT JOIN visit v ON v.city_id = c.id",
    "SELECT count(*) FILTER (WHERE people > 500) FROM city",
    "SELECT name FROM city WHERE id IN (SELECT city_id FROM visit) AND EXISTS (SELECT 1 FROM visit)",
    "SELECT name FROM city UNION SELECT day FROM visit EXCEPT SELECT 'Bern' ORDER BY 1",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT name FROM n, city WHERE id = i",
    "WITH x AS MATERIALIZED (SELECT * FROM city) SELECT max(people) FROM x",
    "SELECT DISTINCT country FROM city WHERE people BETWEEN 100 AND 3000 AND country IS NOT NULL AND NOT people IS 5",
    "SELECT CASE country WHEN 'FR' THEN 1 ELSE 0 END, CAST(people AS REAL) / 3, -people % 7, x'00' FROM city",
    "SELECT * FROM city NATURAL JOIN french",
    "SELECT name FROM french -- a remark\n/* another */;",
    "SELECT AVG(cost), MIN(cost) FROM visit WHERE date(day) >= date('2024-01-01', '+1 day')",
    "SELECT (SELECT max(people) FROM city) - people FROM city WHERE (country, id) IN (VALUES ('FR', 1), ('CH', 3))",
    "SELECT value FROM visit, json_each(extra) WHERE extra IS NOT NULL",
]


@pytest.mark.parametrize("query", VALID)
def test_a_reference_accepts_itself(query):
    result = judge(query, query)
    assert result.score == 1, result.reason


@pytest.mark.parametrize(
    ("answer", "query", "right"),
    [
        ("SELECT sum(cost) / count(*) FROM visit", "SELECT avg(cost) FROM visit", True),
        ("SELECT count(*) * 1.0 FROM city", "SELECT count(*) FROM city", True),
        ("SELECT '4' FROM city LIMIT 1", "SELECT count(*) FROM city", False),
        ("SELECT name FROM french", "SELECT name FROM city WHERE country = 'FR'", True),
        ("SELECT name FROM city WHERE country = 'FR' AND people > 0", "SELECT name FROM french", True),
        ("SELECT country FROM city", "SELECT DISTINCT country FROM city", False),
        ("SELECT name FROM city ORDER BY people DESC", "SELECT name FROM city ORDER BY people", False),
        ("SELECT name FROM city", "SELECT name FROM city ORDER BY id", True),
        ("SELECT name FROM city ORDER BY people", "SELECT name FROM (SELECT name FROM city ORDER BY id)", True),
        ("SELECT lower(name) FROM city", "SELECT name FROM city", False),
        ("SELECT name FROM city WHERE id IN (1, 2, 4)", "SELECT name FROM french", True),  # the data cannot tell
        ("SELECT 'Paris' FROM city UNION SELECT 'Lyon' UNION SELECT 'Nice'", "SELECT name FROM french", False),
        ("SELECT CASE WHEN count(*) THEN 3 END FROM city", "SELECT count(*) FROM french", False),
        ("SELECT 2100 FROM city", "SELECT max(people) FROM city", False),
        ("SELECT 2100 FROM (SELECT count(*) FROM city)", "SELECT max(people) FROM city", False),
        ("SELECT random() FROM city", "SELECT name FROM city", False),
        ("VALUES (1)", "SELECT count(*) FROM city", False),
        ("SELECT name FROM city WHERE id = ?", "SELECT name FROM city", False),
        ("SELECT name FROM city\x00", "SELECT name FROM city", False),
        ("EXPLAIN SELECT name FROM city", "SELECT name FROM city", False),
        ("(SELECT name FROM city)", "SELECT name FROM city", False),
        ("SELECT name INTO other FROM city", "SELECT name FROM city", False),
        ("WITH x AS (SELECT 1) DELETE FROM city", "SELECT name FROM city", False),
        ("SELECT writefile('/tmp/x', name) FROM city", "SELECT name FROM city", False),
        ("SELECT name FROM main.city", "SELECT name FROM city", True),
        ("SELECT name FROM temp.sqlite_temp_master", "SELECT name FROM city", False),
        ("SELECT sql FROM sqlite_schema", "SELECT name FROM city", False),
        ("SELECT * FROM pragma_database_list", "SELECT name FROM city", False),
        ("```python\nprint(1)\n```", "SELECT name FROM city", False),
        ("```sql\nSELECT 1\n```\nor\n```sql\nSELECT name FROM city\n```", "SELECT name FROM city", True),
        ("```sql\nSELECT name FROM city\n```\nor\n```sql\nSELECT 1\n```", "SELECT name FROM city", False),
        ("```sql\nSELECT name FROM city", "SELECT name FROM city", False),
    ],
)
def test_answers(answer, query, right):
    result = judge(answer, query)
    assert (result.score, result.status) == (float(right), "ok"), result.reason


@pytest.mark.parametrize(
    "reference",
    [
        {"query": "SELECT nothing FROM city"},
        {"query": "DELETE FROM city"},
        {"query": "SELECT name FROM city WHERE 0"},
        {"query": "SELECT name FROM city", "schema": "CREATE TABLE"},
        {"query": "SELECT name FROM city", "schema": "ATTACH '/tmp/sharpen-attached.db' AS x"},
        {"query": "SELECT name FROM city", "databases": ["CREATE TABLE other (x)"]},
        {"query": "SELECT name FROM city", "databases": "x"},
        {"query": "SELECT name FROM city", "schema": None},
        {"query": "SELECT name FROM city", "ordered": "yes"},
        {"query": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"},
        {"rows": [1]},
        {"rows": [[{}]]},
        {"rows": []},
        {},
    ],
)
def test_references_that_cannot_be_used(reference):
    result = judge("SELECT name FROM city", **reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_a_reference_that_is_no_object():
    request = RewardRequest(task="sql", response="SELECT 1", reference="SELECT 1")
    assert load_tasks()["sql"].function(request).status == "unscorable"


def test_rows_for_several_databases():
    other = {"schema": "CREATE TABLE city (name, people); INSERT INTO city VALUES ('Oslo', 700)", "rows": [["Oslo"]]}
    reference = {"rows": [["Paris"]], "databases": [other]}
    assert judge("SELECT name FROM city ORDER BY people DESC LIMIT 1", **reference).score == 1
    assert judge("SELECT name FROM city WHERE name = 'Paris'", **reference).score == 0


def test_given_rows_may_be_ordered():
    rows = [["Bern"], ["Nice"], ["Lyon"], ["Paris"]]
    assert judge("SELECT name FROM city ORDER BY people DESC", rows=rows).score == 1
    assert judge("SELECT name FROM city ORDER BY people DESC", rows=rows, ordered=True).score == 0
    assert judge("SELECT name FROM city ORDER BY people", rows=rows, ordered=True).score == 1


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT 1 FROM t ORDER BY 1", True),
        ("SELECT 1 FROM t", False),
        ("SELECT 1 FROM (SELECT 1 ORDER BY 1)", False),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1", True),
        ("WITH x AS (SELECT 1 ORDER BY 1) SELECT * FROM x", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
    ],
)
def test_order(query, ordered):
    assert is_ordered(parse_select(query)) is ordered


def test_nothing_is_written(tmp_path):
    with Database(SCRIPT) as database:
        for statement in (
            "INSERT INTO city VALUES (5, 'x', 'y', 1)",
            "CREATE TABLE x (a)",
            "DROP TABLE city",
            "PRAGMA query_only = OFF",
            f"ATTACH '{tmp_path}/x.db' AS x",
            f"VACUUM INTO '{tmp_path}/x.db'",
            "SELECT load_extension('x')",
            "BEGIN",
            "SELECT 1; SELECT 2",
        ):
            with pytest.raises(BadQuery):
                database.run(statement)
        assert database.run("SELECT count(*) FROM city").rows == [(4,)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bomb",
    [
        NUMBERS + "count(*) FROM c",
        "SELECT count(*) FROM " + ", ".join(f"city c{i}" for i in range(13)),
        "SELECT zeroblob(2000000000) FROM city",
        "WITH RECURSIVE c(x) AS (SELECT 'ab' UNION ALL SELECT x || x FROM c) SELECT max(length(x)) FROM c",
        NUMBERS + "printf('%900000d', x) FROM c ORDER BY 1",
    ],
)
def test_bombs_end(bomb):
    result = judge(bomb, "SELECT count(*) FROM city")
    assert (result.score, result.status) == (0, "ok")


def test_a_memory_bomb_leaves_the_next_query_alone():
    bomb = NUMBERS + "printf('%900000d', x) FROM c ORDER BY 1"
    assert judge(bomb, "SELECT name FROM city").score == 0
    assert judge("SELECT name FROM city", "SELECT name FROM city").score == 1


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ([(1,)], [(1.0,)], True),
        ([(1,)], [("1",)], False),
        ([(0.1 + 0.2,)], [(0.3,)], True),
        ([(0.1,)], [(0.11,)], False),
        ([(None,)], [("",)], False),
        ([(b"a",)], [("a",)], False),
        ([(True,)], [(1,)], True),
        ([(2**60 + 1,)], [(2**60,)], False),
        ([(1, 2)], [(2, 1)], False),
        ([(1,), (1,)], [(1,)], False),
        ([], [], True),
        ([(float("inf"),)], [(float("inf"),)], True),
    ],
)
def test_rows(left, right, same):
    assert same_rows(left, right, ordered=True) is same
    assert same_rows(left, right, ordered=False) is same


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None]))), st.randoms())
def test_rows_are_a_multiset(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert same_rows(rows, shuffled, ordered=False)
    assert not same_rows(rows, [*rows, (0, "a")], ordered=False)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="SELECTselct FROMfrom()'\";,*-/[]`.=1city\n", max_size=60))
def test_any_text_is_judged(text):
    assert judge(text, "SELECT name FROM city").status == "ok"
