"""What a query returns on a small SQLite database in memory, run so that it can read that database and nothing else."""

import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_QUERY_CHARS = 10_000
MAX_PARENTHESES = 24  # open at once: sqlglot's time may double with each
MAX_ROWS = 10_000
MAX_STEPS = 5_000_000  # of SQLite's virtual machine; about a second
MAX_VALUE_BYTES = 1_000_000
MAX_HEAP_BYTES = 256 * 2**20
STEPS_A_CALL = 1_000

_COLOURS = re.compile(r"\x1b\[\d*m")

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# Beyond the database, or not the same twice.
FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "random", "randomblob"}
FORBIDDEN_TABLES = "sqlite_", "pragma_", "dbstat"
TABLE_FUNCTIONS = "json_each", "json_tree"


class BadQuery(ValueError):
    """A query that is not one SELECT, that SQLite refuses, or that exhausts a bound."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query returned: values in SQLite's types, and the tables that were read for them."""

    rows: list[tuple[Any, ...]]
    num_columns: int
    tables: frozenset[str] = frozenset()


class Database:
    """A database in memory, filled by a script that we trust, and then closed to all but reading."""

    def __init__(self, script: str, *, half: int | None = None) -> None:
        """`half` 0 or 1 leaves every other row of each table only. Raises sqlite3.Error for a script that fails."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            self._connection.execute("PRAGMA temp_store = MEMORY")  # a sort that spills must not reach the disk
            self._connection.execute(f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}")
            self._connection.set_progress_handler(_stopwatch(10 * MAX_STEPS), STEPS_A_CALL)
            self._connection.executescript(script)
            for function in TABLE_FUNCTIONS:  # their first use declares a table, which no query may
                self._connection.execute(f"SELECT * FROM {function}('[]')").close()
            if half is not None:
                self._halve(half)
            self._connection.execute("PRAGMA query_only = ON")
            self._tables = self._names_of_tables()
        except BaseException:
            self._connection.close()
            raise
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, query: str, *, max_rows: int = MAX_ROWS) -> Rows:
        """The rows of one SELECT, at most `max_rows` and one more. Raises BadQuery."""
        tables: set[str] = set()

        def authorise(action: int, name: str | None, detail: str | None, *_: object) -> int:
            if action not in ALLOWED:
                return sqlite3.SQLITE_DENY
            if action == sqlite3.SQLITE_FUNCTION and (detail or "").lower() in FORBIDDEN_FUNCTIONS:
                return sqlite3.SQLITE_DENY
            if action == sqlite3.SQLITE_READ and name:
                if name.lower().startswith(FORBIDDEN_TABLES):
                    return sqlite3.SQLITE_DENY
                tables.add(name.lower())
            return sqlite3.SQLITE_OK

        self._connection.set_authorizer(authorise)
        self._connection.set_progress_handler(_stopwatch(MAX_STEPS), STEPS_A_CALL)
        try:
            cursor = self._connection.execute(query)
            rows = cursor.fetchmany(max_rows + 1)
            num_columns = len(cursor.description or ())
            cursor.close()
        except MemoryError as error:
            raise BadQuery(f"the query takes more than {MAX_HEAP_BYTES >> 20} MiB") from error
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # the last for a text that no encoder takes
            raise BadQuery(f"SQLite: {error!s:.200}") from error
        return Rows(rows, num_columns, self._tables & tables)

    def _names_of_tables(self) -> frozenset[str]:
        found = self._connection.execute("SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")
        return frozenset(name for (name,) in found)

    def _halve(self, half: int) -> None:
        found = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND sql NOT LIKE 'create virtual%' AND sql NOT LIKE '%without%rowid%'"
        ).fetchall()
        for (name,) in found:
            quoted = '"' + name.replace('"', '""') + '"'
            self._connection.execute(f"DELETE FROM {quoted} WHERE rowid % 2 = {half}")


def _stopwatch(max_steps: int) -> Callable[[], int]:
    """A progress handler that stops a query after that many steps."""
    num_calls = 0

    def is_over() -> int:
        nonlocal num_calls
        num_calls += 1
        return int(num_calls * STEPS_A_CALL > max_steps)

    return is_over


def parse_select(query: str) -> Any:
    """The sqlglot expression of exactly one SELECT, or of a compound of them. Raises BadQuery."""
    import sqlglot
    from sqlglot import expressions
    from sqlglot.errors import SqlglotError

    if len(query) > MAX_QUERY_CHARS:
        raise BadQuery(f"a query of more than {MAX_QUERY_CHARS} characters")
    depth = 0
    for character in query:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth > MAX_PARENTHESES:
            raise BadQuery(f"more than {MAX_PARENTHESES} parentheses within each other")
    try:
        statements = sqlglot.parse(query, read="sqlite")
    except (SqlglotError, RecursionError) as error:
        message = " ".join(_COLOURS.sub("", str(error)).split())
        raise BadQuery(f"not SQL: {message:.200}") from error
    statements = [each for each in statements if each is not None and not isinstance(each, expressions.Semicolon)]
    if len(statements) != 1 or not isinstance(statements[0], expressions.Select | expressions.SetOperation):
        raise BadQuery("not exactly one SELECT")
    return statements[0]


def is_ordered(select: Any) -> bool:
    """Whether the outermost SELECT says in which order its rows come."""
    return bool(select.args.get("order"))


def same_rows(left: list[Any], right: list[Any], *, ordered: bool) -> bool:
    """Rows as a multiset or, where `ordered`, as a list. `1` is `1.0`, floats count to 10 digits, texts exactly."""
    lefts, rights = ([tuple(map(_comparable, row)) for row in rows] for rows in (left, right))
    return lefts == rights if ordered else Counter(lefts) == Counter(rights)


def _comparable(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):  # of a reference in JSON
        value = int(value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 2**53 else f"{value:.10g}"
        return "number", str(value)
    return ("number", str(value)) if isinstance(value, int) else (type(value).__name__, value)
