"""Which model a folder holds: what was made with one must not be mixed with what is made with another."""

import hashlib
from pathlib import Path

from rl.files import write_atomically

WHOLE_BYTES = 2**24  # of a larger file three parts are read
PART_BYTES = 2**16


def fingerprint(model: str) -> str:
    """A hash of the names and contents of a folder's files, of large ones in part; a hub id stands for itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        is_large = size > WHOLE_BYTES
        with open(path, "rb") as file:
            for start in (0, size // 2, size - PART_BYTES) if is_large else (0,):
                file.seek(start)
                digest.update(file.read(PART_BYTES if is_large else WHOLE_BYTES))
    return digest.hexdigest()


def check_same_model(run_dir: Path, model: str) -> None:
    """All responses in a run folder are of one model. Raises ValueError where they were made with other files."""
    path, found = run_dir / "evals" / "model.txt", fingerprint(model)
    if path.is_file() and path.read_text() != found:
        raise ValueError(
            f"--resume: the files of {model} are not those that the responses in {path.parent} were made with; "
            "evaluate it in a new run folder, or remove this one"
        )
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, found)
