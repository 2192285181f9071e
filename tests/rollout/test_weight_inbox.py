"""Memory that children read by a path: what it holds, and that it goes with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from rl.bucket_relay import BucketRelay, read_bytes, split_relay
from rollout.weight_inbox import WeightInbox

HOLD = """
import time
from rollout.weight_inbox import WeightInbox
inbox = WeightInbox()
inbox.fill(b"weights")
print(inbox.path, flush=True)
time.sleep(600)
"""


def test_another_process_reads_what_was_filled_in_last():
    inbox = WeightInbox()
    inbox.fill(numpy.arange(100_000, dtype=numpy.uint8))
    inbox.fill(numpy.frombuffer(b"new weights", dtype=numpy.uint8))
    code = "import sys; print(open(sys.argv[1], 'rb').read())"
    answer = subprocess.run([sys.executable, "-c", code, inbox.path], capture_output=True, text=True, timeout=30)
    assert answer.stdout.strip() == "b'new weights'", answer.stderr
    assert os.path.getsize(inbox.path) == 11


def test_nothing_is_left_of_a_process_that_is_killed():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    held = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        path = Path(held.stdout.readline().strip())
        assert path.read_bytes() == b"weights"
    finally:
        held.send_signal(signal.SIGKILL)
        held.wait(30)
    assert not path.exists()
    assert not list(Path("/dev/shm").glob("sharpen-weights*"))


@pytest.mark.parametrize("bucket", [{"path": "/a", "names": ["w"]}, {"path": "/a", "relay": BucketRelay("/a", "n1")}])
def test_on_the_node_of_the_file_nothing_is_sent(bucket):
    plain, payload = split_relay(bucket, "n1")
    assert payload is None
    assert plain == {name: value for name, value in bucket.items() if name != "relay"}


def test_the_bytes_of_a_bucket_are_those_of_its_file(tmp_path):
    (tmp_path / "bucket").write_bytes(bytes(range(256)))
    found = read_bytes(str(tmp_path / "bucket"))
    assert type(found) is numpy.ndarray, "a memmap would be pickled with its bytes, not sent beside them"
    assert found.tobytes() == bytes(range(256))
