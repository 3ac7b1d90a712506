"""Keeping and moving memories for the published services: by id, in names inside the data folder."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import orjson

from mcp_server.rest_forms import Named, Saving, place_of, steps_of_chat
from mia_skill.agents.manager import Run
from mia_skill.agents.mia import Mia
from mia_skill.core.errors import BankUnwritableError, InputError, boundary

__all__ = ["MemoryDesk", "run_of"]

PAGE = 500


@dataclass(frozen=True)
class MemoryDesk:
    """Routes that write."""

    mia: Mia

    @property
    def folder(self) -> Path:
        """Where named files lie."""
        return self.mia.config.home / "saved"

    async def batch_save(self, items: list[Saving]) -> list[dict[str, object]]:
        """Remember runs; one with nothing to remember says so, the others are kept."""
        told: list[dict[str, object]] = []
        for item in items:
            try:
                stored = await self.mia.store(run_of(item, self.mia.config.memory.namespace))
            except InputError as error:
                told.append({"status": "skipped", "reason": str(error)})
            else:
                told.append({"status": "success", "ids": list(stored.unit_ids)})
        return told

    async def save(self, given: Named) -> dict[str, object]:
        """Write everything to a named file, whole or not at all."""
        place = place_of(given.save_path, self.folder)
        count = await anyio.to_thread.run_sync(self._write, place)
        return {"status": "success", "lines": count}

    async def load(self, given: Named) -> dict[str, object]:
        """Replace the memory by a named file. The file is read through first: a broken one changes nothing."""
        place = place_of(given.load_path, self.folder)
        if not place.is_file():
            raise InputError(f"there is no saved memory {given.load_path!r}")
        return await anyio.to_thread.run_sync(self._read, place)

    async def clear(self, _given: object) -> dict[str, object]:
        """Forget every unit of the configured namespace."""
        return {"status": "success", "forgotten": await anyio.to_thread.run_sync(self._clear)}

    def _write(self, place: Path) -> int:
        lines = [orjson.dumps(one) for one in self.mia.bank.export()]
        with boundary(BankUnwritableError, "saving the memory", OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial_ = place.with_name(f".{place.name}.partial")
            partial_.write_bytes(b"\n".join(lines) + b"\n")
            partial_.replace(place)
        return len(lines)

    def _read(self, place: Path) -> dict[str, object]:
        lines = place.read_bytes().splitlines()
        checked = self.mia.bank.import_(lines, dry_run=True, restore=True)
        if checked.broken:
            raise InputError(f"{len(checked.broken)} lines of it are broken; nothing was changed")
        self._clear()
        self.mia.bank.import_(lines, restore=True)
        return {"status": "success", "lines": len(lines)}

    def _clear(self) -> int:
        bank, gone = self.mia.bank, 0
        listing = partial(bank.list, namespace=self.mia.config.memory.namespace, limit=PAGE)
        while page := listing().units:
            gone += bank.forget([unit.id for unit in page])
        return gone


def run_of(item: Saving, namespace: str) -> Run:
    """A saved conversation as a finished run."""
    return Run(
        question=item.asked,
        trajectory=steps_of_chat(item.messages),
        plan=item.plan,
        outcome=item.judgement,
        memory_ids=tuple(item.used_memory_indices),
        judged_by="none" if item.judgement is None else "host",
        namespace=namespace,
    )
