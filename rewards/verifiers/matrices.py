r"""Matrices out of LaTeX environments and nested lists, as rows of cells in text."""

import re
from fractions import Fraction

from rewards.verifiers.math import read_references, verify_math
from rewards.verifiers.numbers import parse_rational, plain
from rewards.verifiers.shapes import split_items

MAX_CELLS = 100

_MATRIX = re.compile(
    r"(?P<factor>[^&]*?)(?:\\left ?)?[(\[]? ?\\begin ?\{(?P<kind>[pb]?matrix|smallmatrix|array)\} ?(?:\{[lcr| ]*\})?"
    r"(?P<body>.*)\\end ?\{(?P=kind)\} ?(?:(?:\\right ?)?[)\]])?(?P<after>[^&]*)",
    re.DOTALL,
)
_TRANSPOSED = re.compile(r"\^ ?\{? ?(?:T|\\top|\\intercal|\\mathsf ?\{T\}) ?\}?")
_ROW_SPACE = re.compile(r"^\s*\[-?[\d.]+ ?(?:pt|em|ex|mm|cm)\]")
_CDOT = re.compile(r" ?(?:\\cdot|\\times)$")
_NAME = re.compile(r"^\\?[A-Za-z]\w*(?:\^\{?-?\w+\}?)? ?=")

Matrix = tuple[tuple[str, ...], ...]


def read_matrix(text: str) -> Matrix | None:
    r"""A `pmatrix`, `bmatrix` or bracketed `array`, a number times one, its transpose, or `[[1, 2], [3, 4]]`, or None.

    Determinants (`vmatrix`) and matrices of matrices are none. All rows have one length.
    """
    text = _NAME.sub("", " ".join(text.split()).strip("$ "), count=1).strip()
    found = _MATRIX.fullmatch(text) if text.count("\\begin") == 1 else None
    rows = _read_environment(found) if found is not None else _read_lists(text)
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        return None
    return rows if len(rows) * len(rows[0]) <= MAX_CELLS and all(cell for row in rows for cell in row) else None


def check_matrix(matrix: Matrix) -> None:
    """Raise UnreadableReference where a cell is no mathematics."""
    read_references([cell for row in matrix for cell in row])


def same_matrix(answer: Matrix, gold: Matrix, *, evaluated: bool) -> bool:
    """Whether two matrices have one shape and equal cells."""
    if (len(answer), len(answer[0])) != (len(gold), len(gold[0])):
        return False
    return all(
        verify_math(cell, wanted, evaluated=evaluated).equal
        for row, wanted_row in zip(answer, gold, strict=True)
        for cell, wanted in zip(row, wanted_row, strict=True)
    )


def _read_environment(found: re.Match[str]) -> Matrix | None:
    after = plain(found["after"])
    if after and not _TRANSPOSED.fullmatch(after):
        return None
    rows = [_ROW_SPACE.sub("", row) for row in found["body"].split("\\\\")]
    cells = tuple(tuple(plain(cell) for cell in row.split("&")) for row in rows if row.strip())
    if len({len(row) for row in cells}) != 1:
        return None
    cells = _scaled(_CDOT.sub("", plain(found["factor"])), cells)
    return tuple(zip(*cells, strict=True)) if after else cells


def _read_lists(text: str) -> Matrix | None:
    """Rows in brackets within brackets."""
    text = plain(text)
    if not (text.startswith("[") and text.endswith("]")):
        return None
    inside = text[1:-1].strip()
    rows = split_items(text)
    parts = rows.parts if rows and (rows.opening, rows.closing) == ("[", "]") else (inside,)
    read = tuple(_read_row(part) for part in parts)
    nested = any("[" in cell for row in read for cell in row)
    return read if all(read) and not nested else None


def _read_row(text: str) -> tuple[str, ...]:
    """The cells of `[1, 2]` or `[1]`; none where a text is no row."""
    items = split_items(text)
    if items is not None:
        return items.parts if (items.opening, items.closing) == ("[", "]") else ()
    single = re.fullmatch(r"\[([^\[\],;]+)\]", text)
    return (single[1].strip(),) if single else ()


def _scaled(factor: str, cells: Matrix) -> Matrix:
    """The cells times a factor: computed where both are rational, else written as a product."""
    if not factor:
        return cells
    value = Fraction(-1) if factor == "-" else parse_rational(factor)
    return tuple(tuple(_times(factor, value, cell) for cell in row) for row in cells)


def _times(factor: str, value: Fraction | None, cell: str) -> str:
    other = parse_rational(cell)
    if value is not None and other is not None:
        return str(value * other)
    return f"-({cell})" if factor == "-" else f"({factor})({cell})"
