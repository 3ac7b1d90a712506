"""`TokenPolicy`: a chat model that remembers, token by token, what it wrote and what it was told.

Training must see exactly the tokens that were sampled: text that is tokenised again can split differently, and then
the loss falls on tokens that nobody chose (facts of the peers: "token in, token out, or training drifts from
serving"). The episode sees text; the policy keeps the ids beside it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mia_skill.core.chat import Message, Reply
from mia_skill.core.errors import InputError, ModelError
from mia_skill.core.types import Usage, clean_text

__all__ = ["ContextFull", "Conversation", "Renderer", "Sampled", "Sampler", "TemplateError", "TokenPolicy", "Tokenizer"]

Finish = Literal["stop", "length", "aborted"]
ENCODED = 4096
"""Texts whose ids are kept."""
LEAST_REPLY = 8
"""Tokens: with less room than this a conversation is over."""


TRIED = (
    Message(role="user", content="one"),
    Message(role="assistant", content=" a <answer>b</answer>\n"),
    Message(role="user", content="two"),
)
"""What a template is tried with: white space at the edges is what templates like to trim."""


class TemplateError(InputError):
    """The chat template cannot be continued token by token, or does not belong to the tokenizer."""


class ContextFull(ModelError):
    """The conversation fills the context. No sample: the rollout is masked, never scored as wrong."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    eos_token: str
    eos_token_id: int
    all_special_ids: list[int]

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = ...) -> str: ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool = ..., add_generation_prompt: bool = ...
    ) -> str: ...


@dataclass(frozen=True)
class Sampled:
    """What a sampler wrote: ids with the log-probability of each under the policy that chose it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish = "stop"


class Sampler(Protocol):
    """Writes tokens after tokens: a local model, veRL's server, or a script."""

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        """At most `max_tokens` ids; a special token or one of the `stop` strings ends them and is the last of them."""
        ...


@dataclass(frozen=True)
class Renderer:
    """Messages to tokens, in the one way that serving uses too: the model's own chat template."""

    tokenizer: Tokenizer
    known: OrderedDict[str, tuple[int, ...]] = field(default_factory=OrderedDict, repr=False, compare=False)
    """Ids of texts encoded lately: the rollouts of a question begin alike, and tokenising is what prompts cost."""

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt after which the assistant speaks."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def encode(self, text: str) -> list[int]:
        ids = self.known.get(text)
        if ids is None:
            ids = self.known[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
            if len(self.known) > ENCODED:
                self.known.popitem(last=False)
        return list(ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The words of a reply; the special token that ended it is none."""
        return clean_text(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def between(self, before: Sequence[Message], reply: str, after: Sequence[Message], *, ended: bool) -> str:
        """What the template puts after `reply` to the conversation `before`, up to the next reply; `ended` says that
        the reply's last token closed it already.

        Raises:
            TemplateError: the template rewrites what was said before.
        """
        said = self.text(before) + reply
        full = self.text(after)
        if not full.startswith(said):
            raise TemplateError(
                "the chat template changes earlier turns (it trims or drops text), so what was sampled cannot be kept: "
                "use a template that only appends"
            )
        rest = full[len(said) :]
        return rest.removeprefix(self.tokenizer.eos_token) if ended else rest

    def begin(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a new conversation, up to the first reply."""
        return self.encode(self.text(messages))

    def go_on(self, talk: "Conversation", messages: Sequence[Message]) -> list[int]:
        """The tokens that follow the last reply of `talk`, up to the next one.

        Raises:
            TemplateError: the template rewrites what was said before.
        """
        return self.encode(self.between(talk.messages, talk.last, messages, ended=talk.ended))

    def appends(self) -> bool:
        """Does the template keep earlier turns as they are?"""
        try:
            self.between(TRIED[:1], TRIED[1].content, TRIED, ended=False)
        except TemplateError:
            return False
        return True

    def check(self) -> None:
        """Try the template once, before a run.

        Raises:
            TemplateError: it cannot be used for training.
        """
        if self.tokenizer.eos_token_id is None:
            raise TemplateError("the tokenizer has no end token: set eos_token to what closes a turn of the template")
        rest = self.between(TRIED[:1], TRIED[1].content, TRIED, ended=False)
        if not rest.startswith(self.tokenizer.eos_token):
            raise TemplateError(
                f"the template closes a turn with {rest[:20]!r}, the tokenizer's end token is "
                f"{self.tokenizer.eos_token!r}: one of them belongs to another model"
            )
        sample = self.text(TRIED[:1])
        if self.tokenizer.decode(self.encode(sample), skip_special_tokens=False) != sample:
            raise TemplateError("the tokenizer does not give back what it encodes: it belongs to another model")


@dataclass
class Conversation:
    """One growing prompt. `mask` is True exactly where the trained model wrote."""

    messages: tuple[Message, ...]
    ids: list[int]
    mask: list[bool]
    logprobs: list[float]
    replies: list[str] = field(default_factory=list)
    last: str = ""
    ended: bool = False
    cut: bool = False
    """A reply ran into its limit."""

    @property
    def written(self) -> int:
        """Tokens that the model wrote."""
        return sum(self.mask)


@dataclass
class TokenPolicy:
    """A `ChatModel` for one rollout. `conversations` are its training data."""

    sampler: Sampler
    renderer: Renderer
    name: str = "policy"
    temperature: float = 1.0
    max_tokens: int = 128
    context: int = 2048
    """Tokens of one conversation, prompt and replies together."""
    conversations: list[Conversation] = field(default_factory=list)

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
        """One reply; the stop string that ended it stays in it, since its tokens were sampled. `schema` is not
        enforced: the form is what the policy has to learn.

        Raises:
            InputError: `n` is not 1.
            ContextFull: there is no room for a reply.
            TemplateError: the template rewrites earlier turns.
        """
        if n != 1:
            raise InputError(f"n is {n}: a rollout has one continuation; make one policy per rollout")
        talk = self._continued(messages) or self._begun(messages)
        room = min(max_tokens or self.max_tokens, self.context - len(talk.ids))
        if room < LEAST_REPLY:
            raise ContextFull(f"{len(talk.ids)} tokens fill the context of {self.context}: raise it, or show less")
        warmth = self.temperature if temperature is None else temperature
        made = await self.sampler.generate(talk.ids, temperature=warmth, max_tokens=room, stop=stop)
        read = len(talk.ids)
        talk.ids += made.token_ids
        talk.mask += [True] * len(made.token_ids)
        talk.logprobs += made.logprobs
        talk.last = self.renderer.decode(made.token_ids)
        talk.replies.append(talk.last)
        talk.ended = bool(made.token_ids) and made.token_ids[-1] == self.renderer.tokenizer.eos_token_id
        talk.cut = talk.cut or made.finish == "length"
        usage = Usage(calls=1, prompt_tokens=read, completion_tokens=len(made.token_ids))
        return (Reply(text=talk.last, usage=usage, model=self.name, finish=made.finish),)

    def _continued(self, messages: Sequence[Message]) -> Conversation | None:
        """The conversation that these messages go on with, grown by what was said since."""
        for talk in self.conversations:
            known = len(talk.messages)
            more = messages[known:]
            grown = tuple(messages[:known]) == talk.messages and len(more) >= 2 and more[0].role == "assistant"
            if grown and more[0].content.startswith(talk.last):
                ids = self.renderer.go_on(talk, messages)
                talk.ids += ids
                talk.mask += [False] * len(ids)
                talk.logprobs += [0.0] * len(ids)
                talk.messages = tuple(messages)
                return talk
        return None

    def _begun(self, messages: Sequence[Message]) -> Conversation:
        ids = self.renderer.begin(messages)
        talk = Conversation(tuple(messages), ids, [False] * len(ids), [0.0] * len(ids))
        self.conversations.append(talk)
        return talk
