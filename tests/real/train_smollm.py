"""The cold start of a small model, for the test that serves what was trained: it imitates one small world's expert.

python train_smollm.py --model DIR --out DIR    in an environment with torch (`make test-verl` or `make test-torch`)
"""

import argparse
import asyncio
import random
import sys
from pathlib import Path

from training.coldstart import expert_examples
from training.task import WorldShelf, world_tasks
from training.tiny import Learner, load

SEED, SIZE = 1, 60
"""Of the world that is learnt from; the test asks in another one."""
STEPS, BATCH, LR = 12, 4, 1e-4


def main() -> None:
    """Train, save, say what the loss did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    model, tokenizer = load(given.model, "cpu")
    learner = Learner(model, tokenizer, lr=LR)
    learner.renderer.check()
    tasks, questions, world = world_tasks(SEED, SIZE, hops=(1,))
    shelf = WorldShelf(world)
    made = asyncio.run(expert_examples(tasks, questions, shelf, learner.renderer, failures=0.0))
    talks = [talk for one in made for talk in (*one.planner, *one.executor)]
    rng = random.Random(0)
    for step in range(given.steps):
        stats = learner.imitate(rng.sample(talks, BATCH))
        sys.stderr.write(f"step {step + 1} of {given.steps}: loss {stats.drift:.3f}, {stats.seconds:.0f} s\n")
    learner.save(given.out)


if __name__ == "__main__":
    main()
