"""Environment `ledger`: accounts between which the policy moves money, until it closes the books.

What counts is the state that it leaves behind, `{"accounts": {name: balance}, "closed": bool}`.
"""

from collections.abc import Callable
from typing import Any

from rollout.environments.registry import environment
from rollout.environments.tool_calls import ToolError
from rollout.environments.tools import ToolEnvironment, tool_schema
from rollout.types import Prompt

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 1}
TOOLS = (
    tool_schema("transfer", "Move money from one account to another.", source=TEXT, target=TEXT, amount=COUNT),
    tool_schema("balances", "What each account holds."),
    tool_schema("close", "Close the books: nothing can be moved afterwards."),
)


@environment("ledger")
def ledger(prompt: Prompt, seed: int, *, accounts: dict[str, int]) -> ToolEnvironment:
    """Tools `transfer(source, target, amount)`, `balances()` and `close()`, which ends the episode."""
    books = Books(accounts)
    tools: dict[str, Callable[..., str]] = {
        "transfer": books.transfer,
        "balances": books.balances,
        "close": books.close,
    }
    return ToolEnvironment(tools, state=books.snapshot, is_done=lambda: books.is_closed)


class Books:
    """Accounts of whole, never negative balances."""

    def __init__(self, accounts: dict[str, int]) -> None:
        self.accounts = dict(accounts)
        self.is_closed = False

    def transfer(self, source: Any, target: Any, amount: Any) -> str:
        for name in (source, target):
            if not isinstance(name, str) or name not in self.accounts:
                raise ToolError(f"no account {name!r:.60}; there are {', '.join(self.accounts)}")
        if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
            raise ToolError("amount must be a whole number above 0")
        if amount > self.accounts[source]:
            raise ToolError(f"{source} holds {self.accounts[source]} only")
        self.accounts[source] -= amount
        self.accounts[target] += amount
        return self.balances()

    def balances(self) -> str:
        return ", ".join(f"{name} {balance}" for name, balance in self.accounts.items())

    def close(self) -> str:
        self.is_closed = True
        return "closed"

    def snapshot(self) -> dict[str, Any]:
        return {"accounts": dict(self.accounts), "closed": self.is_closed}
