"""Extension points by name: a dict of known functions, or a reference to a function outside the tree."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rewards.plugins import import_source

Function = TypeVar("Function", bound=Callable[..., Any])


def check_name(name: str, known: Mapping[str, Any], what: str) -> str:
    """The name itself where it is known or has the form of a reference; ValueError with the known names otherwise.

    A reference is `module:function` or `path.py:function`; it is imported by `find_function` alone, so that a
    config can be checked on a machine that lacks the plug-in.
    """
    source, _, function = name.rpartition(":")
    if name in known or (source and function.isidentifier()):
        return name
    raise ValueError(
        f"unknown {what} {name!r}: known are {', '.join(sorted(known))}; "
        "`module:function` or `path.py:function` reaches one outside the tree"
    )


def find_function(name: str, known: Mapping[str, Function], what: str) -> Function:
    """The function of that name in `known`, or the one that `module:function` or `path.py:function` refers to."""
    check_name(name, known, what)
    if name in known:
        return known[name]
    source, _, function = name.rpartition(":")
    try:
        module = import_source(source)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{what} {name!r}: {source} has no function {function!r}")
    return found
