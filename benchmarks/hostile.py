"""A plug-in that fails in the way that a response names: for the soak of the reward service."""

import os
import time

from rewards.registry import reward
from rewards.types import RewardRequest


@reward("soak_hostile")
def soak_hostile(request: RewardRequest) -> float:
    """1 for `fine`; hangs, dies or eats memory for `hang`, `crash` and `memory`."""
    match request.response:
        case "hang":
            time.sleep(3600)
        case "crash":
            os._exit(9)
        case "memory":
            kept = []
            while True:
                kept.append(bytearray(2**25))
    return 1.0
