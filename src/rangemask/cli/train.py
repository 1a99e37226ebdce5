"""``rangemask train STAGE [overrides]``: Hydra's settings to a training run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

STAGE_HELP = "depth, stereo, masks, semantic, fusion or joint."
CONF = Path(__file__).parent / "conf"


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

    stages = sorted(path.stem for path in (CONF / "stage").glob("*.yaml"))
    if stage not in stages:
        raise InputError(f"no stage {stage!r}; known: {', '.join(stages)}.")
    run_hydra([f"stage={stage}", *(overrides or []), *context.args])


def run_hydra(arguments: list[str]) -> None:
    """Run one job, or with ``-m`` several, as Hydra composes them.

    Raises:
        RangemaskError: what a job raised, as itself.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from rangemask.errors import InputError, RangemaskError

    raised: list[BaseException] = []

    def job(settings: DictConfig) -> None:
        try:
            _train(OmegaConf.to_container(settings, resolve=True))
        except (RangemaskError, KeyboardInterrupt) as error:
            raised.append(error)
            raise

    before = sys.argv
    sys.argv = ["rangemask train", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job)()
    except SystemExit as error:
        if raised:
            raise raised[0] from None
        if error.code:
            raise InputError(
                "Hydra refused these settings (see above). Keys: rangemask train STAGE --cfg job."
            ) from error
    except (RangemaskError, KeyboardInterrupt):
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    finally:
        sys.argv = before


def _train(settings: Any) -> None:
    from rangemask.cli.console import print_rich
    from rangemask.training.config import TrainConfig
    from rangemask.training.fit import fit
    from rangemask.view.training_page import write_training_page

    config = TrainConfig.from_dict(settings)
    fitted = fit(config, progress=sys.stderr.isatty())
    page = write_training_page(fitted.folder)
    scores = _in_words(fitted.scores)
    print_rich(
        f"Best epoch: {scores or 'no scores'}",
        f"Student:    {fitted.best}",
        f"Page:       {page}",
    )


def _in_words(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(scores.items()))
