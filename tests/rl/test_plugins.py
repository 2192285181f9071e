"""Extension points: known names, references to modules and files, and what is said about wrong ones."""

import math
import random

import pytest

from rl.plugins import check_name, find_function

KNOWN = {"floor": math.floor, "ceil": math.ceil}


def test_a_known_name_is_its_function():
    assert find_function("floor", KNOWN, "rounding") is math.floor


@pytest.mark.parametrize("name", ["flor", ":floor", "math:", "math:1x", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r"unknown rounding .*known are ceil, floor"):
        check_name(name, KNOWN, "rounding")


def test_a_reference_is_checked_without_an_import():
    assert check_name("no_such_module:trunc", KNOWN, "rounding") == "no_such_module:trunc"
    with pytest.raises(ValueError, match="rounding: cannot import 'no_such_module'"):
        find_function("no_such_module:trunc", KNOWN, "rounding")


def test_a_module_function():
    assert find_function("math:trunc", KNOWN, "rounding") is math.trunc
    with pytest.raises(ValueError, match="math has no function 'pi'"):
        find_function("math:pi", KNOWN, "rounding")


def test_a_file_with_dataclasses_and_the_name_of_a_real_module(tmp_path):
    path = tmp_path / "random.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Pair:\n"
        "    left: int\n"
        "def pair(left): return Pair(left)\n"
    )
    assert find_function(f"{path}:pair", KNOWN, "rounding")(3).left == 3
    assert random.Random(0).random() < 1, "the library's module is untouched"
    with pytest.raises(ValueError, match=r"rounding: cannot import .*no file .*missing.py"):
        find_function(f"{tmp_path / 'missing.py'}:pair", KNOWN, "rounding")
