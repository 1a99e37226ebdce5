"""A few rendered frames with exact labels, and settings that train on them in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rangemask.data.synthetic.store import write_synthetic
from rangemask.geometry import Rig
from rangemask.training.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    TrainerConfig,
)

RIG = Rig.rectified(fx=75.0, cx=41.5, cy=27.5, baseline_m=0.12, width=84, height=56)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 84 x 56 px."""
    root = tmp_path_factory.mktemp("rendered") / "store"
    write_synthetic(root, range(6), RIG)
    return root


Settings = Callable[..., TrainConfig]


@pytest.fixture
def settings(rendered: Path, tmp_path: Path) -> Settings:
    """Settings of a run of some stage; sections take changes as tables."""

    def make(stage: str, **sections: dict[str, Any]) -> TrainConfig:
        def section(kind: type, which: str, /, **defaults: Any) -> Any:
            return kind(**{**defaults, **sections.get(which, {})})

        return TrainConfig(
            stage=stage,  # type: ignore[arg-type]
            data=section(
                DataConfig,
                "data",
                root=str(rendered),
                size_px=(56, 84),
                batch_size=2,
                workers=0,
                augmentation="light",
                validation_share=0.3,
            ),
            model=section(ModelConfig, "model", preset="nano", max_depth_m=20.0),
            optimizer=section(OptimizerConfig, "optimizer", lr=1e-3),
            trainer=section(TrainerConfig, "trainer", max_epochs=1, accelerator="cpu", log_every=1),
            run=section(RunConfig, "run", root=str(tmp_path / "runs"), name=stage),
            loss=sections.get("loss", {}),
        )

    return make
