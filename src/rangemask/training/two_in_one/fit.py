"""``fit_two_in_one``: from settings and rectified pairs to a trained network in a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from rangemask.errors import InputError
from rangemask.models.card import Source
from rangemask.models.two_in_one import TwoInOne, TwoInOneConfig, build_two_in_one, start_encoder
from rangemask.models.two_in_one.config import ENCODERS
from rangemask.models.two_in_one.pretrained import load_two_in_one, save_two_in_one
from rangemask.training.data import Frames
from rangemask.training.fit import (
    Fitted,
    JudgeTheEnd,
    best_scores,
    make_trainer,
    running,
    start_folder,
)
from rangemask.training.plots import write_plots
from rangemask.training.run_folder import RunFolder
from rangemask.training.students import trained_card
from rangemask.training.two_in_one.config import STAGE, TwoInOneTrainConfig
from rangemask.training.two_in_one.module import CHOICE, NETWORK, TwoInOneModule
from rangemask.training.two_in_one.pairs import PairsModule
from rangemask.training.two_in_one.photometric import PerceptualFeatures, load_perceptual
from rangemask.training.two_in_one.recordings import (
    d2d_of_data,
    focal_of_data,
    open_pairs,
    tell_doubts,
)

logger = logging.getLogger(__name__)

_OWN_FIELDS = ("encoder", "mono_path", "full_size", "focal_px", "metric")
"""Of ``TwoInOneConfig``, which the run decides elsewhere."""


def fit_two_in_one(config: TwoInOneTrainConfig, *, progress: bool = True) -> Fitted:
    """Train a network for one eye and for two on rectified pairs without labels.

    Leaves networks in ``best`` and ``last``, which ``student:PATH`` takes.

    Args:
        config: what, on what, how.
        progress: show bars.

    Raises:
        InputError: settings, pairs or checkpoints cannot be used, or a partner is missing.
        TrainingError: a loss is not finite.
        OutOfMemoryError: with which options to lower.
        OutputError: the run's folder is taken or cannot be written.
    """
    frames = open_pairs(config.data, config.run.seed)
    full_size = config.augmentation.full_size
    warnings = tell_doubts(frames, config.data.checked_pairs, full_size)
    torch.manual_seed(config.run.seed)
    width = full_size[1]
    network = make_network(config, d2d_of_data(frames, width), focal_of_data(frames, width))
    perceptual = _perceptual(config)
    folder = start_folder(config, frames)
    if not config.run.resume:
        folder.write_json("doubts.json", {"warnings": warnings})
    data = PairsModule(
        frames,
        config.augmentation,
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        seed=config.run.seed,
        d2d=network.decoder.d2d,
    )
    module = TwoInOneModule(network.train(), config, perceptual, folder)
    callbacks = _callbacks(folder)
    trainer = make_trainer(config.plain(), folder, progress=progress, callbacks=callbacks)
    checkpoint = folder.last_checkpoint if config.run.resume else None
    with running(config, folder, memory=_memory(config)):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return _finish(config, folder, frames, module, trainer)


def make_network(
    config: TwoInOneTrainConfig, d2d: float | None, focal_px: float | None = None
) -> TwoInOne:
    """The network that a run begins with.

    Args:
        config: of the run.
        d2d: focal length times baseline, px m, of the data; None keeps the default, and depth
            then has no metric scale.
        focal_px: focal length of the data's cameras at the width of training, where it is known.

    Raises:
        InputError: a setting is impossible, or weights are missing, damaged or do not fit.
    """
    if config.start_from is not None:
        return load_two_in_one(config.start_from)
    given = {name: value for name, value in config.model.items() if value is not None}
    own = sorted(set(given) & set(_OWN_FIELDS))
    if own:
        raise InputError(f"model.{own[0]} is not set here: the run decides on it.")
    known = sorted(set(TwoInOneConfig().to_dict()) - set(_OWN_FIELDS))
    strange = sorted(set(given) - set(known))
    if strange:
        raise InputError(f"model has no {', '.join(strange)}; it knows {', '.join(known)}.")
    given |= {"full_size": config.augmentation.full_size, "focal_px": focal_px}
    given["metric"] = d2d is not None or "d2d" in given
    if d2d is not None:
        given.setdefault("d2d", d2d)
    # Checked as JSON is, then put over the encoder's own defaults.
    checked = TwoInOneConfig.from_dict(_as_lists(given)).to_dict()
    options = {name: checked[name] for name in given}
    model = build_two_in_one(TwoInOneConfig.preset(config.encoder, **options))
    start = "dinov2" if config.start == "auto" and _on_dinov2(config.encoder) else config.start
    if start in {"dinov2", "depth-anything-v2"}:
        start_encoder(model, start, checkpoint=config.checkpoint)
    elif config.encoder != "nano" and not _learns_whole(model):
        logger.warning(
            "the encoder %s is frozen and has random weights, little is learnt from it: give "
            "start=dinov2 or model.trained_blocks.",
            config.encoder,
        )
    return model


def _as_lists(given: Mapping[str, object]) -> dict[str, object]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}


def _on_dinov2(encoder: str) -> bool:
    return encoder in ENCODERS and encoder != "nano"


def _learns_whole(model: TwoInOne) -> bool:
    return all(parameter.requires_grad for parameter in model.encoder.parameters())


def _perceptual(config: TwoInOneTrainConfig) -> PerceptualFeatures | None:
    if not config.loss.mono_perceptual:
        return None
    try:
        return load_perceptual(config.perceptual)
    except InputError as error:
        raise InputError(
            f"{error} It is needed for the perceptual terms (perceptual=FILE); "
            "loss.mono_perceptual=0 does without them."
        ) from error


def _callbacks(folder: RunFolder) -> list[Callback]:
    return [
        ModelCheckpoint(
            dirpath=folder.checkpoints,
            filename="best",
            monitor=f"val/{CHOICE}",
            mode="min",
            save_last=True,
            enable_version_counter=False,
        ),
        JudgeTheEnd(),
    ]


def _memory(config: TwoInOneTrainConfig) -> str:
    crop = list(config.augmentation.crop_size)
    return (
        f"Lower data.batch_size (now {config.data.batch_size}) or augmentation.crop_size (now "
        f"{crop}); or set model.pyramid=quarter, a smaller encoder (now {config.encoder}), or "
        "trainer.precision=bfloat16. The last checkpoint is kept."
    )


def _finish(
    config: TwoInOneTrainConfig,
    folder: RunFolder,
    frames: Frames,
    module: TwoInOneModule,
    trainer: pl.Trainer,
) -> Fitted:
    """Networks of the best and the last epoch, curves, and the end of the run's story."""
    checkpoint = trainer.checkpoint_callback
    best_path = Path(getattr(checkpoint, "best_model_path", "") or folder.last_checkpoint)
    scores = best_scores(folder, CHOICE)
    finished = bool(trainer.state.finished and not trainer.interrupted)
    scores.pop(CHOICE, None)
    for name, path in (("last", folder.last_checkpoint), ("best", best_path)):
        if path.is_file():
            export(module, path, folder.path / name, config, frames, scores)
    write_plots(folder)
    state = "finished" if finished else "stopped"
    folder.write_state(STAGE, state, best=scores, epochs=trainer.current_epoch)
    return Fitted(folder=folder.path, best=folder.path / "best", scores=scores, finished=finished)


def export(
    module: TwoInOneModule,
    checkpoint: Path,
    target: Path,
    config: TwoInOneTrainConfig,
    frames: Frames,
    scores: Mapping[str, float],
) -> None:
    """A checkpoint as a folder that ``load_two_in_one`` takes.

    One image is answered by the refined branch where that has learnt, else by the plain one.
    """
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    weights = {
        name.removeprefix(NETWORK): value
        for name, value in saved["state_dict"].items()
        if name.startswith(NETWORK)
    }
    stages = config.plan.active(int(saved["epoch"]) + 1)
    before = module.network
    refined = "refine" in stages
    model = build_two_in_one(replace(before.config, mono_path="refine" if refined else "mono"))
    model.load_state_dict(weights)
    root = Path(str(config.data.root))
    images = Source(name=root.resolve().name, role="images", licence="unknown")
    told = (
        f"Two-in-one ({', '.join(stages)}) on {len(frames.train_indices)} pairs without labels, "
        f"validated on {len(frames.val_indices)} (fingerprint {frames.fingerprint[:12]})."
    )
    card = trained_card(before.card, (images,), told)
    metrics = {**before.card.metrics, **{f"val/{name}": value for name, value in scores.items()}}
    save_two_in_one(model, target, card=replace(card, metrics=metrics), overwrite=True)
