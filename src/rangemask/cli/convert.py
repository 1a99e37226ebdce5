"""``rangemask convert``: a checkpoint to safetensors, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The file, or a folder with one.")],
    output: Annotated[Path, typer.Argument(help="The result, ending in .safetensors.")],
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="If reading it safely is refused, unpickle it, which runs whatever its writer "
            "put into it. Only for files whose writer you trust as you would trust a program.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old result.")] = False,
) -> None:
    """Write the weights of a checkpoint, and nothing else of it, as safetensors."""
    from rangemask.atomic import atomic_file, check_free
    from rangemask.errors import InputError
    from rangemask.models.convert import ENDING, convert_checkpoint
    from rangemask.models.foundation_stereo.loading import BESIDE_WEIGHTS

    if output.suffix != ENDING:
        raise InputError(f"{output}: the result ends in {ENDING}.")
    check_free(output, overwrite=overwrite)
    with atomic_file(output) as staging:
        count = convert_checkpoint(
            checkpoint, staging, trust_pickle=trust_pickle, inert=BESIDE_WEIGHTS
        )
    typer.echo(f"{output}: {count} tensors of {checkpoint}")
