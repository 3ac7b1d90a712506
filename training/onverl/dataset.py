"""The data set of a run: the published parquet columns, checked before anything is loaded onto a GPU."""

from typing import Any, cast

from verl.utils.dataset.rl_dataset import RLHFDataset

from mia_skill.core.errors import InputError
from training.record import Stage, check_row

__all__ = ["MiaDataset"]


class MiaDataset(RLHFDataset):  # type: ignore[misc]
    """veRL's own data set, with our rows. `data.mia_stage` names the stage whose columns must be there;
    `data.mia_curriculum` puts the rows with fewer hops first."""

    dataframe: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Raises: InputError: the file is empty, a column is missing, or a row cannot be used."""
        super().__init__(*args, **kwargs)
        stage = cast(Stage, self.config.get("mia_stage", "planner"))
        if not len(self.dataframe):
            raise InputError(f"there are no rows in {', '.join(map(str, self.data_files))}")
        if self.config.get("mia_curriculum", False):
            if self.shuffle:
                raise InputError("a curriculum is an order: set data.shuffle=False beside data.mia_curriculum=True")
            self.dataframe = self.dataframe.sort("level")
        for number, row in enumerate(self.dataframe.remove_columns(self._heavy()), 1):
            check_row(row, stage, number)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One row. The rollouts of a group share it: a loop reads it and keeps its own state to itself."""
        row: dict[str, Any] = super().__getitem__(item)
        row["agent_name"] = f"mia_{self.config.get('mia_stage', 'planner')}"
        return row

    def _heavy(self) -> list[str]:
        return [name for name in (self.image_key, self.video_key) if name in self.dataframe.column_names]
