"""Goes back to the last good state, and says stop, when a guard rail is hit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rangemask.atomic import atomic_file
from rangemask.training.self_supervision.adaptation import BackboneAdaptation
from rangemask.training.self_supervision.guard import GuardRail, Verdict

FILE = "last_good.safetensors"


class Supervisor:
    """Checks student and teacher, keeps what is good, and brings it back once.

    The student tells early, the teacher is what is kept in the end. What is good is held as exact
    copies of all that training changes, so that going back is exact to the bit.

    Args:
        adaptation: as training begins with it: that is the first good state.
        guard: made with the same backbone.
        folder: where the good state is kept; None for the processor's memory.
    """

    def __init__(
        self, adaptation: BackboneAdaptation, guard: GuardRail, folder: str | Path | None = None
    ) -> None:
        self.adaptation, self.guard = adaptation, guard
        self.stopped: Verdict | None = None
        """What stopped training; None while it goes on."""
        self._path = None if folder is None else Path(folder) / FILE
        self._good: dict[str, Tensor] = {}
        self._keep()

    def check(self) -> Verdict:
        """Look at both networks; go back to the last good state where one of them is bad.

        Returns:
            numbers of the teacher, reasons of both. Where it is not ok, numbers are those that
            were found, and the networks are back where they were good: training has to stop,
            since the same steps lead to the same place. Later calls say the same.
        """
        if self.stopped is not None:
            return self.stopped
        student = self.guard.check(self.adaptation.backbone)
        with self.adaptation.averaged() as backbone:
            teacher = self.guard.check(backbone)
        reasons = (
            *(f"student: {reason}" for reason in student.reasons),
            *(f"teacher: {reason}" for reason in teacher.reasons),
        )
        verdict = teacher._replace(ok=not reasons, reasons=reasons)
        if verdict.ok:
            self._keep()
        else:
            self.stopped = verdict
            self.restore()
        return verdict

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the last good state back, to the bit."""
        good = self._good if self._path is None else load_file(self._path)
        for name, value in self.adaptation.learnt().items():
            value.copy_(good[name])

    def _keep(self) -> None:
        state = {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in self.adaptation.learnt().items()
        }
        if self._path is None:
            self._good = state
            return
        with atomic_file(self._path) as staging:
            save_file(state, staging)
