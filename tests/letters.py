"""A tokenizer of letters, with one special token and ChatML's template: what tests of tokens read easily."""

import re
from collections.abc import Sequence

from training.policy import Renderer

END = 0x110000


class Letters:
    eos_token = "<|im_end|>"
    eos_token_id = END
    all_special_ids = (END,)
    trims = False

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        parts = re.split(r"(<\|im_end\|>)", text)
        return [id_ for part in parts for id_ in ([END] if part == self.eos_token else map(ord, part))]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        ends = "" if skip_special_tokens else self.eos_token
        return "".join(ends if one == END else chr(one) for one in token_ids)

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool = True, add_generation_prompt: bool = False
    ) -> str:
        said = [(one["role"], one["content"].strip() if self.trims else one["content"]) for one in conversation]
        return "".join(f"<|{role}|>{text}{self.eos_token}\n" for role, text in said) + "<|assistant|>"


class Trimming(Letters):
    trims = True


def renderer(tokenizer: Letters | None = None) -> Renderer:
    return Renderer(tokenizer or Letters())  # type: ignore[arg-type]
