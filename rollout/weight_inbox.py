"""Where the bytes of a weight bucket from another node lie while vLLM's processes load them."""

import os
from typing import Any


class WeightInbox:
    """Memory of this process, which its children read by `path` and the kernel frees with it, however it ends."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("sharpen-weights")
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def fill(self, payload: Any) -> None:
        """Replace the content by that of a buffer; pages that are there already are kept."""
        with open(self._descriptor, "r+b", buffering=0, closefd=False) as file:
            rest = memoryview(payload).cast("B")
            file.seek(0)
            while rest:  # Linux writes 2 GiB at most at once
                rest = rest[file.write(rest) :]
            file.truncate()
