"""Who is on a GPU that is too small for all; the GPU is played by numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from rangemask.backends.residence import (
    OutOfMemoryError,
    Residence,
    is_out_of_memory,
    parse_bytes,
)
from rangemask.errors import InputError

GPU = "cuda:0"


class Device(str):
    """As torch prints it, with its kind."""

    @property
    def type(self) -> str:
        return self.split(":")[0]


@dataclass
class Network:
    """Weights of a size on a device."""

    size: int
    device: Device = field(default_factory=lambda: Device(GPU))

    def parameters(self) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(device=self.device, nbytes=self.size)

    def buffers(self) -> Iterator[SimpleNamespace]:
        return iter(())

    def to(self, device: object) -> None:
        self.device = Device(str(device))


class Model:
    """Networks that take some more while they work."""

    def __init__(self, gpu: "Gpu", size: int, work: int) -> None:
        self.networks = [Network(size)]
        self.gpu, self.work = gpu, work
        gpu.models.append(self)

    def __call__(self) -> str:
        assert self.networks[0].device == GPU
        self.gpu.use(self.work)
        return "done"

    @property
    def there(self) -> bool:
        return self.networks[0].device == GPU


class Gpu:
    """A device with so much memory, and its meter."""

    def __init__(self, size: int = 10**9) -> None:
        self.size, self.models, self.peak, self.freed = size, [], 0, 0
        self.models: list[Model] = []

    @property
    def held(self) -> int:
        return sum(model.networks[0].size for model in self.models if model.there)

    def use(self, work: int) -> None:
        if self.held + work > self.size:
            # The name is all that is looked at.
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
        self.peak = max(self.peak, self.held + work)

    def start(self, device: object) -> int:
        assert str(device) == GPU
        self.peak = self.held
        return self.held

    def peak_bytes(self, device: object) -> int:
        return self.peak

    def free(self) -> None:
        self.freed += 1


def test_without_a_budget_everybody_stays() -> None:
    gpu = Gpu()
    first, second = Model(gpu, 300, 50), Model(gpu, 300, 50)
    residence = Residence(meter=gpu)
    for model in (first, second, first):
        assert residence.ask(model, model) == "done"
    assert first.there
    assert second.there


def test_those_that_do_not_fit_together_take_turns() -> None:
    gpu = Gpu()
    first, second = Model(gpu, 300, 200), Model(gpu, 400, 100)
    residence = Residence(600, gpu)
    for model in (first, second):
        residence.admit(model)
        assert not model.there
    for _ in range(3):
        residence.ask(first, first)
        assert (first.there, second.there) == (True, False)
        residence.ask(second, second)
        assert (first.there, second.there) == (False, True)
    assert gpu.freed >= 5


def test_those_that_fit_stay_once_their_need_is_known() -> None:
    gpu = Gpu()
    first, second = Model(gpu, 300, 100), Model(gpu, 200, 100)
    residence = Residence(600, gpu)
    for model in (first, second, first, second):
        residence.ask(model, model)
    freed = gpu.freed
    residence.ask(second, second)
    residence.ask(first, first)
    assert gpu.freed == freed, "nobody moves any more"
    assert first.there
    assert second.there


def test_the_largest_leaves_first() -> None:
    gpu = Gpu()
    big, small, worker = Model(gpu, 300, 0), Model(gpu, 50, 0), Model(gpu, 100, 300)
    residence = Residence(500, gpu)
    for model in (worker, big, small):
        residence.ask(model, model)
    big.networks[0].to(GPU)
    residence.ask(worker, worker)
    assert not big.there
    assert small.there


class Planner(Model):
    """Keeps to a budget that it is told."""

    told: tuple[int, int] | None = None

    def plan_within(self, budget_bytes: int, taken_bytes: int = 0) -> None:
        self.told = budget_bytes, taken_bytes


def test_who_plans_is_told_the_budget() -> None:
    """On the GPU all of it, since the others make room; elsewhere without their weights."""
    for where, taken in ((GPU, 0), ("cpu", 300)):
        gpu = Gpu()
        planner, other = Planner(gpu, 100, 0), Model(gpu, 300, 0)
        for model in (planner, other):
            model.networks[0].to(where)
        residence = Residence(600, gpu)
        for model in (planner, other):
            residence.admit(model)
        residence.ask(planner, lambda: "done")
        assert planner.told == (600, taken)
    without = Planner(gpu, 100, 0)
    Residence(meter=gpu).ask(without, lambda: "done")
    assert without.told is None


def test_memory_that_runs_out_is_tried_once_more_alone(caplog: pytest.LogCaptureFixture) -> None:
    gpu = Gpu(size=500)
    first, second = Model(gpu, 200, 50), Model(gpu, 200, 250)
    residence = Residence(meter=gpu)
    residence.ask(first, first)
    assert residence.ask(second, second) == "done"
    assert not first.there
    assert "the other models make room" in caplog.text
    assert residence.ask(first, first) == "done"


def test_what_does_not_fit_alone_says_what_to_lower() -> None:
    gpu = Gpu(size=500)
    model = Model(gpu, 200, 400)
    with pytest.raises(OutOfMemoryError, match="smaller images, --precision bfloat16"):
        Residence(meter=gpu).ask(model, model)


def test_a_need_above_the_budget_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    gpu = Gpu()
    model = Model(gpu, 300, 400)
    residence = Residence("600B", gpu)
    residence.ask(model, model)
    residence.ask(model, model)
    assert caplog.text.count("more than the memory budget") == 1


def test_other_errors_pass() -> None:
    def fails() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        Residence().ask(object(), fails)


def test_models_without_networks_or_elsewhere_are_left_alone() -> None:
    gpu = Gpu()
    model = Model(gpu, 10, 0)
    model.networks[0].to("cpu")
    assert Residence(5, gpu).ask(model, lambda: 3) == 3
    assert not model.there
    assert Residence(5, gpu).ask(object(), lambda: 4) == 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("6GB", 6 * 10**9), ("5.5 GiB", int(5.5 * 2**30)), ("300m", 3 * 10**8), (77, 77)],
)
def test_amounts_of_memory(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "", "-6GB", "0GB", "6XB", "6ib", 0])
def test_what_is_no_amount_of_memory_speaks(text: int | str) -> None:
    with pytest.raises(InputError, match=r"an amount such as 6GB or 5\.5GiB"):
        parse_bytes(text)


def test_lack_of_memory_is_told_by_its_name() -> None:
    torch = pytest.importorskip("torch")
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert not is_out_of_memory(RuntimeError("x"))
