"""``rangemask train STAGE [overrides]``: Hydra's settings to a training run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rangemask.training.fit import Fitted

STAGE_HELP = "depth, stereo, masks, semantic, fusion, joint, backbone, workflow or two-in-one."
CONF = Path(__file__).parent / "conf"
OWN_SETTINGS = ("two-in-one",)
"""Stages whose settings stand in a file of their own, not among those of the students."""


def train(
    context: typer.Context,
    stage: Annotated[str, typer.Argument(help=STAGE_HELP)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides: data.root=FOLDER model=small optimizer.lr=1e-5."),
    ] = None,
) -> None:
    """Train a stage; sweeps as in Hydra: -m optimizer.lr=1e-4,1e-5."""
    from rangemask.errors import InputError

    stages = [*sorted(path.stem for path in (CONF / "stage").glob("*.yaml")), *OWN_SETTINGS]
    if stage not in stages:
        raise InputError(f"no stage {stage!r}; known: {', '.join(stages)}.")
    given = [*(overrides or []), *context.args]
    if stage in OWN_SETTINGS:
        run_hydra(given, settings_file=stage)
    else:
        run_hydra([f"stage={stage}", *given])


def run_hydra(arguments: list[str], *, settings_file: str = "train") -> None:
    """Run one job, or with ``-m`` several, as Hydra composes them.

    Args:
        arguments: overrides and Hydra's flags.
        settings_file: what they override, in ``conf``, without suffix.

    Raises:
        InputError: the settings do not compose.
        Exception: what a job raised, as itself.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from rangemask.errors import InputError

    raised: list[Exception] = []

    def job(settings: DictConfig) -> None:
        if raised:  # an earlier job of the sweep
            return
        try:
            _train(OmegaConf.to_container(settings, resolve=True))
        except Exception as error:  # noqa: BLE001 - Hydra would print a traceback of its own
            raised.append(error)

    before = sys.argv
    # Hydra's parser wants its flags before the overrides.
    overrides = [word for word in arguments if "=" in word and not word.startswith("-")]
    flags = [word for word in arguments if word not in overrides]
    sys.argv = ["rangemask train", *flags, *overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=settings_file)(job)()
    except SystemExit as error:
        if error.code:
            raise InputError(
                "Hydra refused these settings (see above). Keys: rangemask train STAGE --cfg job."
            ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    finally:
        sys.argv = before
    if raised:
        raise raised[0]


def _train(settings: Any) -> None:
    from rangemask.cli.console import print_rich
    from rangemask.training.words import in_words
    from rangemask.view.training_page import write_training_page

    fitted = _fitted(settings, progress=sys.stderr.isatty())
    page = write_training_page(fitted.folder)
    print_rich(
        f"Best epoch: {in_words(fitted.scores) or 'no scores'}",
        *(f"Stopped:    {reason}" for reason in fitted.reasons),
        f"Weights:    {fitted.best}",
        f"Page:       {page}",
    )


def _fitted(settings: Any, *, progress: bool) -> Fitted:
    from rangemask.training.config import TrainConfig

    if settings["stage"] == "workflow":
        from rangemask.training.workflow import Workflow, run_workflow

        return run_workflow(Workflow.from_dict(settings), progress=progress)
    if settings["stage"] == "two-in-one":
        from rangemask.training.two_in_one.config import TwoInOneTrainConfig
        from rangemask.training.two_in_one.fit import fit_two_in_one

        return fit_two_in_one(TwoInOneTrainConfig.from_dict(settings), progress=progress)
    config = TrainConfig.from_dict(settings)
    if config.stage == "backbone":
        from rangemask.training.adapt import adapt_backbone

        return adapt_backbone(config, progress=progress)
    from rangemask.training.fit import fit

    return fit(config, progress=progress)
