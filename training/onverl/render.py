"""Which tokens follow a reply: from the template's text where it only appends, else from veRL's own builders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mia_skill.core.chat import Message
from training.policy import Conversation, Renderer, TemplateError, Tokenizer

__all__ = ["Builder", "BuilderRenderer", "renderer_for"]


class Builder(Protocol):
    """The part of veRL's `ContinuousTokenBuilder` that is used here."""

    def build_initial_tokens(self, messages: list[dict[str, Any]]) -> list[int]: ...

    def merge_context_tokens(
        self,
        previous_messages: list[dict[str, Any]],
        updated_messages: list[dict[str, Any]],
        runtime_token_ids: list[int],
    ) -> Any: ...


@dataclass(frozen=True)
class BuilderRenderer(Renderer):
    """For templates that rewrite earlier turns (some drop past thoughts): nothing said before is rendered again."""

    builder: Builder = field(kw_only=True)

    def begin(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a new conversation, up to the first reply."""
        return list(self.builder.build_initial_tokens(turns(messages)))

    def go_on(self, talk: Conversation, messages: Sequence[Message]) -> list[int]:
        """The tokens that follow the last reply of `talk`, up to the next one.

        Raises:
            TemplateError: the builder changes what was sampled.
        """
        known = len(talk.messages) + 1
        closing = self.encode(messages[known - 1].content[len(talk.last) :])
        if not talk.ended:
            closing.append(self.tokenizer.eos_token_id)
        said = [*talk.ids, *closing]
        merged = list(self.builder.merge_context_tokens(turns(messages[:known]), turns(messages), said).token_ids)
        if merged[: len(said)] != said:
            raise TemplateError(
                "veRL's builder for this model changes sampled tokens: it cannot be trained turn by turn"
            )
        return merged[len(talk.ids) :]


def renderer_for(tokenizer: Tokenizer, builder: Builder) -> Renderer:
    """The template's own text where that can be had: it is what serving sends, to the letter.

    Raises:
        TemplateError: template and tokenizer belong to different models.
    """
    plain = Renderer(tokenizer)
    try:
        plain.check()
    except TemplateError:
        if plain.appends():
            raise
        return BuilderRenderer(tokenizer, builder=builder)
    return plain


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.content} for message in messages]
