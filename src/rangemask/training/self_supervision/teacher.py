"""A teacher that is the running average of the student, held for the learning parts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class EmaTeacher(nn.Module):
    """Averages of what learns in a student; what is frozen is the student's own.

    Of adapters the two factors are averaged, not their product: near each other, as a slow
    average keeps them, the difference is of second order.

    Args:
        student: its parameters that require gradients are copied; it is not kept.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.names = tuple(
            name for name, parameter in student.named_parameters() if parameter.requires_grad
        )
        for name in self.names:
            self.register_buffer(_slot(name), student.get_parameter(name).detach().clone())

    def averages(self) -> dict[str, Tensor]:
        """By the student's names; the tensors themselves, not copies."""
        return {name: self.get_buffer(_slot(name)) for name in self.names}

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Move towards the student: ``momentum`` of the old, the rest of the student's."""
        for name, average in self.averages().items():
            average.lerp_(student.get_parameter(name).to(average), 1 - momentum)

    @torch.no_grad()
    def see(self, student: nn.Module, *inputs: Any, **options: Any) -> Any:
        """The student's output with averaged numbers: no gradient, no dropout."""
        values: Mapping[str, Tensor] = self.averages()
        with evaluating(student):
            return functional_call(student, dict(values), inputs, options)

    @contextmanager
    def lent(self, student: nn.Module) -> Iterator[None]:
        """The student holds averaged numbers for a while, and its own again afterwards."""
        own = {name: student.get_parameter(name).data for name in self.names}
        try:
            for name, average in self.averages().items():
                student.get_parameter(name).data = average
            yield
        finally:
            for name, value in own.items():
                student.get_parameter(name).data = value


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """All parts in evaluation mode for a while, then as each of them was."""
    modes = {part: part.training for part in module.modules()}
    module.train(False)
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _slot(name: str) -> str:
    return name.replace(".", "__")  # buffers may have no dots in their names
