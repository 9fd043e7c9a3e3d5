"""In-memory storage account with the interface of `pipeline.storage.account.Account`, a clock and fault injection."""

import time
from collections.abc import Callable
from dataclasses import replace

from typing_extensions import override

from pipeline.storage import Account
from pipeline.testing.clients import NO_RESPONSE, Clients
from pipeline.testing.operations import apply
from pipeline.testing.store import Op, Response, Store


class MemoryAccount(Clients, Account):
    """A storage account in this process's memory, on which all of `pipeline.storage` runs unchanged.

    `operations` are all operations so far, in order, such as `("blob.get", "input/a.jpg", …)`. `store` is the state.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.store = Store(places=frozenset())
        self.operations: list[Op] = []
        self._clock, self._advanced = clock, 0.0
        Clients.__init__(self, self._carry_out)
        self._faults: list[tuple[str, Response]] = []

    def fail(self, operation: str, status: int, code: str = "", *, times: int = 1) -> None:
        """Make the next operations fail whose name and place begin so, such as `blob.put output/` or `row`.

        With `NO_RESPONSE` as the status the operation is carried out, and its response is lost.
        """
        self._faults += [(operation, Response(None, status, code))] * times

    def clock(self) -> float:
        """Return the account's time in seconds."""
        return self._clock() + self._advanced

    def work_again(self) -> None:
        """Forget the faults that no operation has met yet."""
        self._faults.clear()

    def advance(self, seconds: float) -> None:
        """Move the account's clock: leases expire, hidden messages become visible."""
        self._advanced += seconds

    @property
    @override
    def url(self) -> str:
        """A URL for messages."""
        return "memory://"

    @override
    async def close(self) -> None:
        """Keep everything: another `Services` may go on with this account."""

    async def _carry_out(self, op: Op) -> Response:
        self.operations.append(op)
        now = self.clock()
        store = replace(self.store, clock=now, wall=now, serial=self.store.serial + 1)
        fault = next((each for each in self._faults if f"{op[0]} {op[1]}".startswith(each[0])), None)
        if fault:
            self._faults.remove(fault)
            if fault[1].status != NO_RESPONSE:
                return fault[1]
        self.store, response = apply(store, op)
        return fault[1] if fault else response
