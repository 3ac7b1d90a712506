"""`python -m training.merged FOLDER`: the adapter of an export is merged into its weights.

veRL's merger writes what a LoRA run trained to `lora_adapter/`, beside the weights that the run began with: served as
it is, such a folder is the untrained model. The adapter stays there, to be served on the model that the run began with.
"""

import sys
from pathlib import Path

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.script import missing, script

try:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
except ImportError as cause:
    raise missing(cause, __name__, "-r requirements/train.txt") from None

__all__ = ["ADAPTER", "merge"]

ADAPTER = "lora_adapter"


def merge(folder: Path) -> None:
    """Raises: InputError: the adapter does not say its scale, so that nothing of it would count."""
    told = orjson.loads((folder / ADAPTER / "adapter_config.json").read_bytes())
    if not told.get("lora_alpha"):
        raise InputError(f"{folder / ADAPTER} has lora_alpha 0: the checkpoint's lora_train_meta.json is missing")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = PeftModel.from_pretrained(model, folder / ADAPTER).merge_and_unload()
    whole.to(torch.bfloat16).save_pretrained(folder)


def main() -> None:
    """One folder."""
    merge(Path(sys.argv[1]))


if __name__ == "__main__":
    script(main)
