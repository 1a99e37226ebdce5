"""The two-in-one network as Lightning trains it: up to three steps per batch, one per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.atomic import atomic_file
from rangemask.geometry.arrays import AnyArray
from rangemask.models.two_in_one import TwoInOne
from rangemask.training.module import TrainingError
from rangemask.training.run_folder import RunFolder
from rangemask.training.two_in_one.config import TwoInOneTrainConfig
from rangemask.training.two_in_one.objective import StageResult, TwoInOneObjective
from rangemask.training.two_in_one.pairs import JudgedPair, NamedBatch
from rangemask.training.two_in_one.photometric import PerceptualFeatures
from rangemask.training.two_in_one.schedule import STAGES, StageName, make_optimizers, set_rates
from rangemask.training.two_in_one.scores import (
    PairScores,
    choice,
    depth_like_truth,
    disparities,
    score,
)

CHOICE = "choice"
"""Of the best epoch, see ``scores.choice``; a number for machines."""
NETWORK = "network."
_PERCEPTUAL = "objective.perceptual."
_WIDTH_PX = 320


class TwoInOneModule(pl.LightningModule):
    """All stages of a two-in-one network; which learn hangs on the epoch.

    Args:
        network: on any device, with what is not to learn frozen.
        config: of the run.
        perceptual: VGG-19; None leaves its terms out. It goes into no checkpoint.
        folder: where bad batches and predictions go; None keeps none.
    """

    def __init__(
        self,
        network: TwoInOne,
        config: TwoInOneTrainConfig,
        perceptual: PerceptualFeatures | None = None,
        folder: RunFolder | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.config = config
        self.plan = config.plan
        self.folder = folder
        self.objective = TwoInOneObjective(config.loss, perceptual)
        self._scores, self._kept = PairScores(), 0

    @property
    def stages(self) -> tuple[StageName, ...]:
        """That learn in this epoch."""
        return self.plan.active(self.current_epoch + 1)

    def configure_optimizers(self) -> list[torch.optim.Adam]:
        """One Adam per stage."""
        return list(make_optimizers(self.network, self.plan).values())

    def on_train_epoch_start(self) -> None:
        """Rates of the epoch; random numbers that a resumed run draws again."""
        epoch = self.current_epoch + 1
        torch.manual_seed(self.config.run.seed + epoch)
        optimizers: Any = self.optimizers()
        set_rates(dict(zip(STAGES, optimizers, strict=True)), self.plan, epoch)
        for stage in self.stages:
            self.log(f"lr/{stage}", self.plan.rate(stage, epoch))

    def training_step(self, batch: NamedBatch, index: int) -> None:
        """One step of each stage that learns, before the next one looks.

        Raises:
            TrainingError: a loss is not finite.
        """
        optimizers: Any = self.optimizers()
        by_stage = dict(zip(STAGES, optimizers, strict=True))
        logged: dict[str, Tensor] = {}
        total = batch.pairs.target.new_zeros(())
        for result in self.objective.stages(self.network, batch.pairs, self.stages):
            if not bool(torch.isfinite(result.loss.total)):
                self._stop_at(batch, result, index)
            if result.stage in self.stages:
                by_stage[result.stage].zero_grad()
                self.manual_backward(result.loss.total)
                by_stage[result.stage].step()
            logged |= {f"train/{name}": part for name, part in result.loss.parts.items()}
            logged[f"train/{result.stage}"] = result.loss.total.detach()
            total = total + result.loss.total.detach()
        self.log_dict({"train/loss": total, **logged}, batch_size=len(batch.names))

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._scores, self._kept = PairScores(), 0

    def validation_step(self, pair: JudgedPair, index: int) -> None:
        """Scores of a pair, by each path that has learnt."""
        del index
        found = disparities(self.network, pair, self.stages)
        for stage, disparity in found.items():
            values = score(disparity, pair, self.network.decoder.d2d, self.config.data.cap_m)
            self._scores.add(stage, values)
        if self.folder is not None and self._kept < self.config.trainer.predictions:
            folder = self.folder.predictions / f"epoch_{self.current_epoch:03}"
            with atomic_file(folder / f"{pair.name}.npz") as staging:
                np.savez_compressed(staging, **self._picture(pair, found))  # type: ignore[arg-type]
            self._kept += 1

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        scores = self._scores.result()
        found = {f"val/{name}": value for name, value in scores.items()}
        self.log_dict({**found, f"val/{CHOICE}": choice(scores, self.stages)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """VGG-19 is not ours to pass on, and never learns."""
        state = checkpoint["state_dict"]
        for name in [one for one in state if one.startswith(_PERCEPTUAL)]:
            del state[name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """VGG-19 is the one that is here."""
        own = self.state_dict()
        kept = {name: value for name, value in own.items() if name.startswith(_PERCEPTUAL)}
        checkpoint["state_dict"].update(kept)

    def _picture(self, pair: JudgedPair, found: dict[StageName, Tensor]) -> dict[str, AnyArray]:
        """A pair, its truth and the answers at a width of 320 px; disparity is the network's."""
        height, width = pair.left.shape[-2:]
        size = (max(1, round(height * _WIDTH_PX / width)), _WIDTH_PX)
        small = F.interpolate(pair.left, size=size, mode="bilinear", antialias=True)[0]
        arrays = {"image": (small.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()}
        shown = {"pair": "two_eyes", "mono": "one_eye", "refine": "one_eye_refined"}
        for stage, disparity in found.items():
            arrays[shown[stage]] = _nearest(disparity, size)
        if pair.truth is not None:
            one = torch.ones_like(pair.left[:, :1])
            # What the network would have to say for the truth, up to the rig's doffs.
            unit = torch.from_numpy(depth_like_truth(one, pair, self.network.decoder.d2d))
            truth = unit.to(pair.truth) / pair.truth
            arrays["true_disparity"] = _nearest(truth[None, None], size)
        return arrays

    def _stop_at(self, batch: NamedBatch, result: StageResult, index: int) -> None:
        said = ", ".join(f"{name} {float(part):g}" for name, part in result.loss.parts.items())
        where = ""
        if self.folder is not None:
            path: Path = self.folder.path / "bad_batch.pt"
            torch.save({**batch.pairs._asdict(), "names": list(batch.names)}, path)
            where = f" The batch is in {path}; the last checkpoint before stays beside it."
        raise TrainingError(
            f"the loss of the stage {result.stage} is not finite in epoch "
            f"{self.current_epoch + 1}, batch {index} ({said}; pairs {', '.join(batch.names)})."
            f"{where} Look at these images, lower schedule.lr, or train with "
            "trainer.precision=float32."
        )


def _nearest(values: Tensor, size: tuple[int, int]) -> AnyArray:
    small = F.interpolate(values.float(), size=size, mode="nearest-exact")[0, 0]
    return np.asarray(small.cpu().numpy(), dtype=np.float32)
