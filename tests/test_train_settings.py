"""Settings at the end of `mia train`: they exist and can be used, or there is an error before the run."""

import pytest

from mia_skill.core.errors import ConfigError
from training.overrides import check_overrides


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mia.kk=5", "unknown setting 'mia.kk'; the nearest is 'mia.k'"),
        ("mia.limits.stepz=3", "the nearest is 'mia.limits.steps'"),
        ("+mia.other.base_ur=http://127.0.0.1:1/v1", "the nearest is 'mia.other.base_url'"),
        ("mia_guards.windw=5", "the nearest is 'mia_guards.window'"),
        ("mia.k=many", "mia.k: Input should be a valid integer"),
        ("mia_guards.patience=0", "mia_guards.patience: Input should be greater than"),
        ("mia.k", "'mia.k' is no KEY=VALUE"),
        ("--lr 1e-5", "is no KEY=VALUE"),
    ],
)
def test_a_setting_that_is_unknown_or_unfit_is_refused_with_the_nearest_one(given: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_overrides("one_gpu", [given])
    assert told in str(caught.value)


def test_a_part_that_was_given_a_value_cannot_be_given_settings() -> None:
    with pytest.raises(ConfigError, match="'limits' was given a value"):
        check_overrides("one_gpu", ["mia.limits=3", "mia.limits.steps=3"])


def test_settings_that_exist_pass() -> None:
    check_overrides(
        "one_gpu",
        [
            "mia.k=5", "mia.limits.steps=3", "mia_guards.idle=null", "mia.planner_variant=unsupervised",
            "+mia.other.base_url=http://127.0.0.1:8000/v1", "+mia.other.model=frozen", "mia.limits={steps: 3}",
            "~mia.judge", "trainer.save_freq=2",
        ],
    )  # fmt: skip
