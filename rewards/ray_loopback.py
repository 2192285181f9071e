"""A Ray cluster that we start on this machine: out of reach of other machines and of its other users."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Ray's switch for clusters of one machine; its name is of the systems where it is the default.
SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
LOOPBACK = {SWITCH: "0", "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
LOOPBACK |= {"VLLM_HOST_IP": "127.0.0.1", "VLLM_LOOPBACK_IP": "127.0.0.1"}


@contextmanager
def loopback_alone() -> Iterator[None]:
    """What Ray starts within listens on 127.0.0.1; by default it listens on every interface.

    `_node_ip_address="127.0.0.1"` would not do: Ray puts the machine's outer address in its place.
    """
    from ray._private import ray_constants

    before, environment = ray_constants.ENABLE_RAY_CLUSTER, {name: os.environ.get(name) for name in LOOPBACK}
    os.environ.update(LOOPBACK)
    ray_constants.ENABLE_RAY_CLUSTER = False  # it was read from the environment when Ray was first imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def private_folder() -> Path:
    """Where Ray keeps its sockets and logs, below a folder that only this user may enter: Ray opens its own to all.

    Raises ValueError where somebody else has put something under that name.
    """
    folder = Path(tempfile.gettempdir()) / f"sharpen-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise ValueError(f"{folder} is not a folder of yours: remove it, or set TMPDIR to a folder that is")
    folder.chmod(0o700)
    return folder / "ray"


def keep_token_private() -> None:
    """Close the folder of the token that callers of the cluster must show: Ray writes it for everybody to read."""
    folder = Path.home() / ".ray"
    with suppress(OSError):  # Ray says what is wrong with it
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
