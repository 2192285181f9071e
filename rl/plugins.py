"""Extension points by name: a dict of known functions, or a reference to a function outside the tree."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

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
    module = _load_file(Path(source), what) if source.endswith(".py") else _import(source, what)
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{what} {name!r}: {source} has no function {function!r}")
    return found


def _import(source: str, what: str) -> Any:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise ValueError(f"{what}: cannot import {source!r} ({error}); is its folder on PYTHONPATH?") from error


def _load_file(path: Path, what: str) -> Any:
    if not path.is_file():
        raise ValueError(f"{what}: no file {path}")
    digest = hashlib.blake2b(str(path.resolve()).encode(), digest_size=4).hexdigest()
    name = f"{path.stem}_{digest}"  # a plug-in called random.py must not become `random`
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, f"{path} ends in .py"
    assert spec.loader is not None, f"{path} ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up while it is being executed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
