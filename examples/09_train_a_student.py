"""Train a small student on a label store, judge it on scenes it never saw, and use it.

python examples/09_train_a_student.py

A few steps of a tiny network, to show the way; the README says what enough of them bring.
"""

from pathlib import Path

import rangemask as rm
from rangemask.data.store import open_labels
from rangemask.data.synthetic import random_scene, render
from rangemask.data.synthetic.store import write_synthetic
from rangemask.evaluation.datasets import evaluate_dataset
from rangemask.training.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    TrainerConfig,
)
from rangemask.training.fit import fit
from rangemask.view.training_page import write_training_page

ROOT = Path("outputs/learning")
RIG = rm.Rig.rectified(fx=150.0, cx=83.5, cy=55.5, baseline_m=0.12, width=168, height=112)

# In earnest these are `rangemask label`'s folders, or any data set that `rangemask` reads.
write_synthetic(ROOT / "train", range(12), RIG)
write_synthetic(ROOT / "held-out", range(100, 104), RIG)

# The same as: rangemask train stereo model=nano data.root=... data.validation=...
fitted = fit(
    TrainConfig(
        stage="stereo",
        data=DataConfig(
            root=str(ROOT / "train"),
            validation=str(ROOT / "held-out"),
            size_px=(112, 168),
            batch_size=4,
            workers=0,
        ),
        model=ModelConfig(preset="nano", trained_blocks=-1),
        optimizer=OptimizerConfig(lr=1e-3),
        trainer=TrainerConfig(max_epochs=2, accelerator="cpu"),
        run=RunConfig(root=str(ROOT / "runs")),
    ),
    progress=False,
)
print("curves and predictions:", write_training_page(fitted.folder))

# The student takes the place of any matcher.
pipeline = rm.Pipeline(stereo=f"student:{fitted.best}", masks="geometry")
report = evaluate_dataset(pipeline, open_labels(ROOT / "held-out"))
print(f"held-out scenes: EPE {report.totals['disparity']['epe_px']:.1f} px after six steps")
print(pipeline(render(random_scene(7), RIG).frame))
