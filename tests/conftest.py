"""Fixtures for all tests; those of real parts start what they need at first use and share it."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("KMP_BLOCKTIME", "0")

pytest_plugins = ["tests.real_parts", "tests.qwen3_tokenizer"]
