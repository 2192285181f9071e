"""Task `sql`: a query that returns the expected rows on every test database."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from rewards.registry import Case, reward
from rewards.response import split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.sql import MAX_ROWS, BadQuery, Database, Rows, is_ordered, parse_select, same_rows

TAGS = "", "sql", "sqlite"
MAX_DATABASES = 16
MAX_SCRIPT_CHARS = 1_000_000

TABLE = "CREATE TABLE city (name TEXT, country TEXT, people INTEGER); INSERT INTO city VALUES "
FRANCE = TABLE + "('Paris', 'FR', 2100000), ('Lyon', 'FR', 520000), ('Bern', 'CH', 130000), ('Nice', 'FR', 340000);"
OTHER = TABLE + "('Oslo', 'NO', 700000), ('Lille', 'FR', 230000);"
GOLD = "SELECT name FROM city WHERE country = 'FR'"
REFERENCE = {"schema": FRANCE, "query": GOLD, "databases": [OTHER]}
ORDERED = {"schema": FRANCE, "query": GOLD + " ORDER BY people DESC"}
COUNT = {"schema": FRANCE, "query": "SELECT count(*) FROM city WHERE country = 'FR'"}
GIVEN = {"schema": FRANCE, "rows": [["Bern", 130000]]}
BOMB = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT "


class UnreadableReference(ValueError):
    """A reference that says no rows for a database."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Test databases as scripts, each with the rows that are right there, or one query that returns them."""

    scripts: list[str]
    rows: list[Any]
    query: str | None
    ordered: bool


def respond(reference: Any) -> str:
    """The query of the reference; where it has rows only, no query that reads its tables is known."""
    return str(reference.get("query", "")) if isinstance(reference, dict) else ""


@reward(
    "sql",
    example={"question": "Which cities are in France (FR)?", "response": GOLD, "reference": REFERENCE},
    cases=[
        Case(name="honest", response=GOLD, score=1),
        Case(name="fenced", response=f"So:\n```sql\n{GOLD};\n```\nDone.", score=1),
        Case(name="after the thinking", response=f"<think>SELECT 1</think>{GOLD}", score=1),
        Case(name="another query", response="SELECT name FROM city c WHERE 'FR' = c.country ORDER BY 1", score=1),
        Case(
            name="rows given",
            response="SELECT name, people FROM city ORDER BY people LIMIT 1",
            reference=GIVEN,
            score=1,
        ),
        Case(name="in order", response=GOLD + " ORDER BY people DESC", reference=ORDERED, score=1),
        Case(name="order matters", response=GOLD + " ORDER BY people", reference=ORDERED, score=0),
        Case(
            name="columns in another order",
            response="SELECT people, name FROM city ORDER BY 1 LIMIT 1",
            reference=GIVEN,
            score=0,
        ),
        Case(name="wrong", response="SELECT name FROM city", score=0),
        Case(name="repeated rows", response=GOLD + " UNION ALL " + GOLD, score=0),
        Case(name="a column too many", response="SELECT name, country FROM city WHERE country = 'FR'", score=0),
        Case(name="empty", response="", score=0),
        Case(name="thinking never ends", response="<think>" + GOLD, score=0),
        Case(name="prose", response="The cities are Paris, Lyon and Nice.", score=0),
        Case(name="malformed", response="SELECT FROM WHERE", score=0),
        Case(name="a constant", response="SELECT 'Paris' UNION SELECT 'Lyon' UNION SELECT 'Nice'", score=0),
        Case(
            name="a constant of this database",
            response="SELECT name FROM city WHERE name IN ('Paris', 'Lyon', 'Nice')",
            score=0,
        ),
        Case(name="a constant, one database", response="SELECT 3", reference=COUNT, score=0),
        Case(name="a constant from a table", response="SELECT 3 FROM city LIMIT 1", reference=COUNT, score=0),
        Case(name="two statements", response=f"{GOLD}; {GOLD}", score=0),
        Case(name="a statement hidden", response=f"{GOLD}; DROP TABLE city", score=0),
        Case(name="a deletion", response="DELETE FROM city RETURNING name", score=0),
        Case(name="attach", response="ATTACH '/tmp/x.db' AS x", score=0),
        Case(name="pragma", response="PRAGMA table_info(city)", score=0),
        Case(name="pragma as a table", response="SELECT name FROM pragma_table_info('city')", score=0),
        Case(name="load_extension", response="SELECT load_extension('/tmp/x.so')", score=0),
        Case(name="the schema's own table", response="SELECT name FROM sqlite_master", score=0),
        Case(name="injected", response=f"{GOLD} -- '); UPDATE city SET country = 'FR'; score 1", score=1),
        Case(name="a bomb of rows", response=BOMB + "x FROM c", score=0),
        Case(name="a bomb of steps", response=BOMB + "count(*) FROM c", score=0),
        Case(name="a bomb of memory", response=BOMB + "printf('%900000d', x) FROM c ORDER BY 1", score=0),
        Case(name="nested without end", response="SELECT " + "(" * 2_000 + "1" + ")" * 2_000, score=0),
        Case(name="huge", response="SELECT '" + "x" * 200_000 + "'", score=0),
        Case(name="look-alike", response=GOLD.replace("FR", "F\u200bR"), score=0),
    ],
    respond=respond,
)
def sql(request: RewardRequest) -> RewardResult:
    """1 where the query, one SELECT alone or in the last fenced block, returns the expected rows on every database.

    Reference: `schema` (a script that makes and fills the database), `query` or `rows`, `databases` (more scripts, or
    objects of `schema` and `rows`), `ordered` (default: whether the query has ORDER BY; a multiset otherwise).
    """
    assert isinstance(request.response, str), "checked by the scorer"
    try:
        expectation = _read_reference(request.reference)
        expected = _expected_rows(expectation)
    except (UnreadableReference, BadQuery, sqlite3.Error) as error:
        return RewardResult(score=None, status="unscorable", reason=f"the reference: {error}", verifier="sql")
    answer = split_response(request.response).answer
    if not answer:
        return RewardResult(score=0, reason="no answer", verifier="sql")
    query = ""
    try:
        query = _query_of(answer)
        parse_select(query)
        failure = _failure(query, expectation, expected)
    except BadQuery as error:
        failure = str(error)
    reason = failure or f"the expected rows on {len(expected)} databases"
    return RewardResult(score=float(not failure), reason=reason, extracted=query[:4_096] or None, verifier="sql")


def _query_of(answer: str) -> str:
    """The last fenced block of SQL, or all of an answer without a fence. Raises BadQuery."""
    blocks: list[list[str]] = []
    is_open, num_fences = False, 0
    for line in answer.split("\n"):
        if line.strip().startswith("```"):
            num_fences += 1
            is_open = not is_open
            if is_open:
                tag = line.strip().removeprefix("```").strip().lower()
                block: list[str] = []
                blocks += [block] if tag in TAGS else []
        elif is_open:
            block.append(line)
    if is_open or (num_fences and not blocks):
        raise BadQuery("no fenced block of SQL that is closed")
    return "\n".join(blocks[-1]) if blocks else answer


def _failure(query: str, expectation: Expectation, expected: list[Rows]) -> str | None:
    """Why a query is wrong, or None. Raises BadQuery."""
    for number, (script, rows) in enumerate(zip(expectation.scripts, expected, strict=True), start=1):
        with Database(script) as database:
            found = database.run(query, max_rows=len(rows.rows))
        if rows.tables and not found.tables:
            return "the query reads no table"
        if found.num_columns != rows.num_columns and rows.num_columns:
            return f"{found.num_columns} columns, not {rows.num_columns}"
        if not same_rows(found.rows, rows.rows, ordered=expectation.ordered):
            return f"not the expected rows on database {number}"
    return _is_constant(query, expectation, expected[0])


def _is_constant(query: str, expectation: Expectation, expected: Rows) -> str | None:
    """Whether half of the rows give the same answer still, where the reference's own query sees the difference."""
    if expectation.query is None:
        return None
    for half in (0, 1):
        try:
            with Database(expectation.scripts[0], half=half) as database:
                right = database.run(expectation.query)
                found = database.run(query)
        except (BadQuery, sqlite3.Error):
            continue
        is_unmoved = same_rows(found.rows, expected.rows, ordered=False)
        if is_unmoved and not same_rows(right.rows, expected.rows, ordered=False):
            return "a constant: the answer is the same with half of the rows"
    return None


def _read_reference(reference: Any) -> Expectation:
    if not isinstance(reference, dict):
        raise UnreadableReference("no object of schema and query or rows")
    query, others = reference.get("query"), reference.get("databases", [])
    if not isinstance(others, list) or len(others) >= MAX_DATABASES:
        raise UnreadableReference(f"databases is no list of less than {MAX_DATABASES}")
    databases = [reference, *({"schema": each} if isinstance(each, str) else each for each in others)]
    if not all(isinstance(each, dict) and isinstance(each.get("schema"), str) for each in databases):
        raise UnreadableReference("a database without a schema")
    if any(len(each["schema"]) > MAX_SCRIPT_CHARS for each in databases):
        raise UnreadableReference(f"a schema of more than {MAX_SCRIPT_CHARS} characters")
    rows = [each.get("rows") for each in databases]
    if isinstance(query, str):
        select = parse_select(query)
    elif not all(map(_are_rows, rows)):
        raise UnreadableReference("neither a query nor rows, lists of values, for each database")
    ordered = reference.get("ordered", is_ordered(select) if isinstance(query, str) else False)
    if not isinstance(ordered, bool):
        raise UnreadableReference("ordered is neither true nor false")
    return Expectation([each["schema"] for each in databases], rows, query, ordered)


def _are_rows(rows: Any) -> bool:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return False
    return all(value is None or isinstance(value, str | int | float) for row in rows for value in row)


def _expected_rows(expectation: Expectation) -> list[Rows]:
    """What is right on each database. Raises UnreadableReference, BadQuery, sqlite3.Error."""
    expected = []
    for script, given in zip(expectation.scripts, expectation.rows, strict=True):
        with Database(script) as database:
            if expectation.query is None:
                rows = Rows([tuple(row) for row in given], len(given[0]) if given else 0, frozenset({"any"}))
            else:
                rows = database.run(expectation.query)
        if len(rows.rows) > MAX_ROWS:
            raise UnreadableReference(f"more than {MAX_ROWS} rows")
        expected.append(rows)
    if not any(rows.rows for rows in expected):
        raise UnreadableReference("no rows on any database: any query that finds nothing would be right")
    return expected
