"""Jobs on a clock of their own: expiry, owners, the number kept."""

import anyio
import pytest

from mcp_server import jobs
from mcp_server.jobs import Job, Jobs
from mcp_server.result import View
from mia_skill.core.errors import InputError, UnknownIdError
from mia_skill.core.events import Event, Listener


class Done(View):
    """A result."""

    word: str = "ready"


async def quick(listener: Listener) -> View:
    await listener(Event(stage="plan", message="thinking"))
    return Done()


@pytest.fixture
def hour() -> list[float]:
    return [0.0]


async def finished(held: Jobs, owner: str = "me") -> Job:
    job = held.start(owner, quick)
    await job.over.wait()
    return job


async def test_a_result_is_kept_for_its_time_and_not_longer(hour: list[float]) -> None:
    async with anyio.create_task_group() as group:
        held = Jobs(group, places=1, keep_s=60, clock=lambda: hour[0])
        job = await finished(held)
        hour[0] = 60
        assert held.find(job.handle, "me") is job
        hour[0] = 61
        with pytest.raises(UnknownIdError, match="1 minutes"):
            held.find(job.handle, "me")


async def test_a_running_job_never_expires(hour: list[float]) -> None:
    async with anyio.create_task_group() as group:
        held = Jobs(group, places=1, keep_s=1, clock=lambda: hour[0])

        async def for_ever(_listener: Listener) -> View:
            await anyio.sleep_forever()
            raise AssertionError

        job = held.start("me", for_ever)
        hour[0] = 1e6
        assert held.find(job.handle, "me").state == "running"
        held.cancel(job)
        await job.over.wait()
        assert job.state == "cancelled"


async def test_a_handle_is_worth_nothing_to_another_caller(hour: list[float]) -> None:
    async with anyio.create_task_group() as group:
        held = Jobs(group, places=1, keep_s=60)
        job = await finished(held, "alice")
        with pytest.raises(UnknownIdError):
            held.find(job.handle, "bob")
        assert held.find(job.handle, "alice").result == Done()


async def test_handles_cannot_be_guessed_and_the_oldest_results_go_first() -> None:
    async with anyio.create_task_group() as group:
        held = Jobs(group, places=1, keep_s=60)
        made = [await finished(held) for _ in range(jobs.MOST_KEPT + 2)]
        assert len({job.handle for job in made}) == len(made)
        assert all(len(job.handle) == 36 for job in made)
        with pytest.raises(UnknownIdError):
            held.find(made[0].handle, "me")
        assert held.find(made[-1].handle, "me") is made[-1]


async def test_a_bug_in_a_job_is_logged_and_its_text_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    async def buggy(_listener: Listener) -> View:
        raise KeyError("api_key=SECRET")

    async def refused(_listener: Listener) -> View:
        raise ExceptionGroup("several", [InputError("set search.corpus")])

    async with anyio.create_task_group() as group:
        held = Jobs(group, places=2, keep_s=60)
        job = held.start("me", buggy)
        other = held.start("me", refused)
        await job.over.wait()
        await other.over.wait()
    assert (job.state, "SECRET" in job.error) == ("failed", False)
    assert "SECRET" in caplog.text
    assert other.error == "set search.corpus"
