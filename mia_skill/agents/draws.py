"""What the gate drew for tasks that are under way: in memory, and in the bank so that a restart loses none of it."""

from contextlib import suppress
from dataclasses import dataclass

import anyio.to_thread

from mia_skill.agents.ledger import Ledger
from mia_skill.core.errors import BankUnwritableError
from retrieval.bank import Bank
from retrieval.custody import task_of
from retrieval.gate import Draw

__all__ = ["Draws"]


@dataclass(frozen=True)
class Draws:
    """Draws by question, and by unit while a run waits for a person's word."""

    bank: Bank
    ledger: Ledger

    async def keep(self, question: str, draw: Draw, *, namespace: str) -> None:
        """Until the outcome of this question is known."""
        self.ledger.drew(question, draw, namespace=namespace)
        await self._write(task_of(namespace, question), draw)

    async def take(self, question: str, *, namespace: str) -> Draw | None:
        """The draw of a question, once."""
        own = self.ledger.take_draw(question, namespace=namespace)
        if own is not None and not own.randomised:
            return own
        return await self._read(task_of(namespace, question)) or own

    async def wait(self, unit_ids: tuple[str, ...], draw: Draw) -> None:
        """Until a person says how the run of these units ended."""
        self.ledger.wait(unit_ids, draw)
        for unit_id in unit_ids:
            await self._write(unit_id, draw)

    async def take_waiting(self, unit_id: str) -> Draw | None:
        """The draw of a unit's run, once."""
        own = self.ledger.take_waiting(unit_id)
        return await self._read(unit_id) or own

    async def _write(self, key: str, draw: Draw) -> None:
        # Where chance decided nothing there is nothing to measure. A bank that takes no writes is still recalled from.
        if draw.randomised:
            with suppress(BankUnwritableError):
                await anyio.to_thread.run_sync(self.bank.keep_draw, key, draw)

    async def _read(self, key: str) -> Draw | None:
        return await anyio.to_thread.run_sync(self.bank.take_draw, key)
