"""What may be imported where: the base install must start without any heavy package."""

import json
import subprocess
import sys

import pytest

GPU_STACK = ("torch", "vllm", "verl", "flash_attn", "transformers")
HEAVY = (*GPU_STACK, "faiss", "onnxruntime", "tokenizers", "tantivy", "rich")
PROBE = """
import importlib, importlib.abc, json, pkgutil, sys

blocked, skipped, roots = (tuple(part) for part in json.loads(sys.argv[1]))
freed, late = (tuple(part) for part in json.loads(sys.argv[2]))

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")
        return None

sys.meta_path.insert(0, Blocker())
failed, imported = {}, []
def walk(name):
    if name.endswith("__main__") or name.startswith(skipped):
        return
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
        return
    imported.append(name)
    for below in pkgutil.iter_modules(getattr(module, "__path__", ())):
        walk(f"{name}.{below.name}")
for root in roots:
    walk(root)
loaded = sorted({name.partition(".")[0] for name in sys.modules})
blocked, skipped = tuple(set(blocked) - set(freed)), ("no.module",)
for root in late:
    walk(root)
print(json.dumps({"failed": failed, "imported": imported, "loaded": loaded}))
"""
ROOMS = ("mia_skill", "mcp_server", "trust", "retrieval", "training.reward", "training.advantage")


def imports(
    roots: tuple[str, ...],
    *,
    blocked: tuple[str, ...] = (),
    skipped: tuple[str, ...] = ("no.module",),
    freed: tuple[str, ...] = (),
    late: tuple[str, ...] = (),
) -> dict[str, list[str]]:
    """Import `roots` and all below them in a process of their own, then `late` with what is `freed`."""
    tasks = (json.dumps([blocked, skipped, roots]), json.dumps([freed, late]))
    done = subprocess.run([sys.executable, "-c", PROBE, *tasks], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_nothing_needs_the_gpu_stack_and_only_the_demo_imports_a_heavy_package_before_it_is_used() -> None:
    freed = tuple(set(HEAVY) - set(GPU_STACK))
    found = imports(ROOMS, blocked=HEAVY, skipped=("mia_skill.demo",), freed=freed, late=("mia_skill.demo",))
    assert found["failed"] == {}
    assert len(found["imported"]) > 40
    assert {*ROOMS, "mia_skill.demo.show"} <= set(found["imported"])
    assert not set(HEAVY) & set(found["loaded"])


@pytest.mark.parametrize("room", ["mia_skill", "mcp_server", "retrieval", "trust"])
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    found = imports((room,), skipped=(f"{room}.",))
    assert found["imported"] == [room]
    assert not {*HEAVY, "numpy", "httpx", "pydantic"} & set(found["loaded"])


def test_the_server_process_loads_nothing_heavy_at_its_start() -> None:
    found = imports(("mcp_server.server", "mia_skill.app"))
    assert found["failed"] == {}
    assert not {*HEAVY, "httpx"} & set(found["loaded"])
