"""An engine's processes are waited for, and what does not leave by itself is killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rollout.processes import end_processes, find_living, own_processes


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait(timeout=30)


def key(process: subprocess.Popen) -> tuple[int, float]:
    return process.pid, psutil.Process(process.pid).create_time()


def test_a_process_is_its_own_with_its_children(child):
    assert {os.getpid(), child.pid} <= {pid for pid, _ in own_processes()}


def test_what_is_frozen_is_killed(child):
    child.send_signal(signal.SIGSTOP)
    end_processes([key(child)], grace_s=0.2)
    assert child.wait(timeout=30) == -signal.SIGKILL


def test_what_leaves_is_waited_for(child):
    child.terminate()
    end_processes([key(child)], grace_s=30)
    assert find_living([(child.pid, 0.0)]) == []
    assert child.wait(timeout=30) == -signal.SIGTERM, "by the signal that it had got before"


def test_another_process_of_the_same_number_is_left_alone(child):
    pid, created = key(child)
    end_processes([(pid, created - 100)], grace_s=0.1)
    time.sleep(0.2)
    assert child.poll() is None


def test_a_process_that_is_dead_and_not_yet_collected_holds_nothing(child):
    found = key(child)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert find_living([found]) == []
