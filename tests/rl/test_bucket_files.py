"""Files in shared memory: those of a killed run go with the next one, those of a living run stay."""

import signal
import subprocess
import sys

from rl.bucket_files import BucketFiles

HOLD = """
import sys, time
from pathlib import Path
from rl.bucket_files import BucketFiles
files = BucketFiles(Path(sys.argv[1]))
for path in files.paths:
    path.write_bytes(b"weights")
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_runs_files_are_removed_and_a_living_ones_are_not(tmp_path):
    (tmp_path / "sharpen-other").write_bytes(b"none of ours")
    run = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout.readline() == "ready\n"
        before = set(tmp_path.iterdir())
        assert len(before) == 4
        files = BucketFiles(tmp_path)
        assert before < set(tmp_path.iterdir()), "the other run lives"
        files.close()
        assert set(tmp_path.iterdir()) == before
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        files = BucketFiles(tmp_path)
        assert not set(tmp_path.iterdir()) & (before - {tmp_path / "sharpen-other"})
        files.close()
        assert list(tmp_path.iterdir()) == [tmp_path / "sharpen-other"]
    finally:
        run.kill()
        run.wait()
