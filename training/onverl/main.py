"""`python -m training.onverl.main --config-name one_gpu KEY=VALUE ...`: veRL's own entry, with our settings.

Config files lie in `config/`: `mia` says how is trained, each other one names machines only.
"""

from typing import Any

import hydra
import ray
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

__all__ = ["MiaRunner", "main"]


@ray.remote
class MiaRunner(TaskRunnerV1.__ray_metadata__.modified_class):  # type: ignore[misc]
    """veRL's runner, in whose process our trainer is known."""

    def run(self, config: Any) -> None:
        """Train."""
        import training.onverl.trainer  # noqa: F401  registers the trainer `mia`

        super().run(config)


@hydra.main(config_path="config", config_name="one_gpu", version_base=None)
def main(config: Any) -> None:
    """Compose, check, run."""
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    run_ppo(config, task_runner_class=MiaRunner)


if __name__ == "__main__":
    main()
