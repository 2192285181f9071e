"""How the reward service is set up."""

import ipaddress
import os

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewards.scorer import ScorerConfig

DEFAULT_TOKEN_ENV = "SHARPEN_REWARDS_TOKEN"


class ServiceConfig(BaseModel):
    """The scorer, and what the service takes.

    A client names the token in the environment variable `token_env`; nobody needs one where that is None.
    A body has at most `max_request_mib` and arrives within `read_timeout_s`, a batch has `max_batch` requests.
    `max_queue` requests of all clients are accepted and unanswered at once, from bodies of `max_queue_mib` in all.
    The results of the last `remember` ids are kept for `remember_s`. When it ends, the service finishes what is under
    way within `drain_timeout_s`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: ScorerConfig = ScorerConfig()
    token_env: str | None = None
    protect_metrics: bool = False
    max_request_mib: float = Field(32, gt=0)
    read_timeout_s: float = Field(30, gt=0)
    max_batch: int = Field(1024, ge=1)
    max_queue: int = Field(8192, ge=1)
    max_queue_mib: float = Field(1024, gt=0)
    remember: int = Field(16_384, ge=0)
    remember_s: float = Field(600, gt=0)
    drain_timeout_s: float = Field(30, ge=0)
    log_results: bool = True

    @model_validator(mode="after")
    def _holds_together(self) -> "ServiceConfig":
        if self.max_batch > self.max_queue:
            raise ValueError(f"max_batch: {self.max_batch} requests never fit a max_queue of {self.max_queue}")
        if self.max_request_mib > self.max_queue_mib:
            raise ValueError(
                f"max_request_mib: {self.max_request_mib:g} never fit a max_queue_mib of {self.max_queue_mib:g}"
            )
        if 0 < self.remember < self.max_queue:
            raise ValueError(f"remember: {self.remember} is below max_queue, {self.max_queue}; 0 turns it off")
        return self

    def read_token(self) -> str | None:
        """The token that clients must name. Raises ValueError where the variable is empty, or no header can hold it."""
        if self.token_env is None:
            return None
        token = os.environ.get(self.token_env, "")
        if not token:
            raise ValueError(f"token_env: the environment variable {self.token_env} is not set")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise ValueError(f"token_env: {self.token_env} holds more than printable ASCII without spaces")
        return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a socket bound to the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
