"""Several endpoints as one model: calls go round; one that cannot be reached is passed over."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from mia_skill.core.chat import ChatModel, Message, Reply, ToolSpec, act
from mia_skill.core.errors import InputError, ModelUnreachableError

__all__ = ["Pool"]

Said = TypeVar("Said")


@dataclass
class Pool:
    """A `ChatModel` over others that serve the same model."""

    models: Sequence[ChatModel]
    _turn: "count[int]" = field(default_factory=count, repr=False)

    def __post_init__(self) -> None:
        """Raises: InputError: there is no endpoint, or they serve different models."""
        if len({one.name for one in self.models}) != 1:
            raise InputError("the endpoints of a pool must be at least one, and serve one model")

    @property
    def name(self) -> str:
        """The model's."""
        return self.models[0].name

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """By the next endpoint, or the first after it that can be reached.

        Raises:
            ModelUnreachableError: none can.
            ModelError: the endpoint that was reached failed: another would be asked the same.
        """

        async def ask(model: ChatModel) -> tuple[Reply, ...]:
            return await model.complete(
                messages, schema=schema, temperature=temperature, max_tokens=max_tokens, stop=stop, n=n
            )

        return await self._passed_round(ask)

    async def act(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, stop: Sequence[str] = ()) -> Reply:
        """One turn of an agent, by whichever endpoint can be reached.

        Raises:
            ModelError: as `complete`.
        """

        async def ask(model: ChatModel) -> Reply:
            return await act(model, messages, tools, stop=stop)

        return await self._passed_round(ask)

    async def _passed_round(self, ask: Callable[[ChatModel], Awaitable[Said]]) -> Said:
        first = next(self._turn)
        last: ModelUnreachableError | None = None
        for place in range(len(self.models)):
            try:
                return await ask(self.models[(first + place) % len(self.models)])
            except ModelUnreachableError as error:
                last = error
        raise last or ModelUnreachableError("no endpoint")

    async def aclose(self) -> None:
        """Close them all."""
        for model in self.models:
            close = getattr(model, "aclose", None)
            if close is not None:
                await close()
