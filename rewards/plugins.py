"""Code from outside the tree: modules by name, `.py` files by path."""

import importlib
import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType


def import_source(source: str) -> ModuleType:
    """The module of a dotted name or of a `.py` file. Raises ValueError with whatever kept it from being imported."""
    try:
        return _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {source!r} ({error}); is its folder on PYTHONPATH?") from error
    # Code from anywhere: whatever its import raises is an error of the configuration.
    except Exception as error:
        raise ValueError(f"cannot import {source!r}: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    """A file once a process, under a name of its own: a plug-in called random.py must not become `random`."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"sharpen_plugin_{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
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
