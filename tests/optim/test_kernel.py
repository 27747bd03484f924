"""The C++ kernel by itself: roots of rows against bisection in float64, any number of threads, and whose threads they
are.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.optim import SGD, AdamW
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.proximal import CHUNK, Proximal
from tests.optim.helpers import bisected

pytestmark = pytest.mark.skipif(native.kernel() is None, reason="no C++ compiler")
ROWS = 24


@pytest.fixture
def two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def mapped(w: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The kernel's map of rows under thresholds ``t``, given to it as second moments."""
    p, v = w.astype(np.float32), (1 / np.square(t)).astype(np.float32)
    jobs = np.zeros(1, native.JOB)
    jobs["p"], jobs["v"], jobs["numel"] = p.ctypes.data, v.ctypes.data, p.size
    jobs["row"], jobs["across"], jobs["down"] = p.shape[1], 1, 1
    jobs["root"], jobs["step"], jobs["lg"] = 1, 1, 1
    native.run("map", jobs, True)
    return p


@pytest.mark.parametrize("width", [1, 9, 64, 147, 1001])
@pytest.mark.parametrize("spread", ["even", "mild", "heavy"])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 4e-3, 1e-2, 5e-2, 0.3, 0.8, 1.2, 5.0])
def test_rows_are_shrunk_as_bisection_says(size: float, spread: str, width: int) -> None:
    rng = np.random.default_rng(round(1e6 * size) + width)
    w = rng.standard_normal((ROWS, width)).astype(np.float32)
    t = {
        "even": np.ones_like(w),
        "mild": rng.uniform(0.2, 2.0, w.shape),
        "heavy": 1 / np.maximum(np.abs(rng.standard_normal(w.shape)), 1e-4),
    }[spread] * (size * np.sqrt(width))
    t = np.float32(1) / np.sqrt((1 / np.square(t)).astype(np.float32))  # as the kernel will see them
    expected, got = bisected(w.astype(float), t.astype(float)), mapped(w, t)
    np.testing.assert_allclose(got, expected, rtol=3e-6, atol=1e-7)
    if size > 3:
        assert (got == 0).all() == (expected == 0).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_row_of_millions_keeps_its_digits(adaptive: bool) -> None:
    n = (1 << 22) + 5
    w = np.random.default_rng(0).standard_normal((1, n)).astype(np.float32)
    norm, t = float(np.sqrt(np.square(w, dtype=np.float64).sum())), 512.0
    p, v = w.copy(), np.full_like(w, t**-2.0)
    jobs = np.zeros(1, native.JOB)
    jobs["p"], jobs["v"], jobs["numel"] = p.ctypes.data, v.ctypes.data, n
    jobs["row"], jobs["across"], jobs["down"], jobs["root"], jobs["lg"] = n, 1, 1, 1, 1
    jobs["step"] = 1 if adaptive else t
    native.run("map", jobs, adaptive)
    np.testing.assert_allclose(p, w * (1 - t / norm), rtol=6e-7)


class Mixed(nn.Module):
    """Odd sizes, an empty tensor, one that is not contiguous, and some without a penalty; large enough
    for two threads.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        shapes = [(301, 203), (203,), (64, 3, 7, 7), (0, 5), (17, 1), (1, 33_333), (501,), (90, 11)]
        self.weights = nn.ParameterList(
            [nn.Parameter(0.05 * torch.randn(shape, generator=generator)) for shape in shapes]
        )
        self.turned = nn.Parameter(0.05 * torch.randn(70, 50, generator=generator).t())

    def gradients(self, step: int) -> None:
        for number, p in enumerate(self.parameters()):
            p.grad = p.detach() - 0.2 * torch.randn(
                p.shape, generator=torch.Generator().manual_seed(100 * step + number)
            )


def trained(make: object, penalty: Proximal, engine: str, steps: int = 4) -> tuple[list[Tensor], torch.optim.Optimizer]:
    model = Mixed()
    # One of several functions.
    optimizer = make(model, lr=0.01, penalty=penalty, engine=engine)  # type: ignore[operator]
    for step in range(steps):
        model.gradients(step)
        optimizer.step()
    return [p.detach() for p in model.parameters()], optimizer


@pytest.mark.parametrize("make", [AdamW, SGD])
@pytest.mark.parametrize(
    "penalty",
    [
        dashpot.L1(strength=3e-3),
        dashpot.ElasticNet(strength=3e-3),
        dashpot.GroupLasso(strength=1e-2),
        dashpot.GroupLasso(groups="layer"),
    ],
)
def test_the_number_of_threads_changes_nothing(make: type, penalty: Proximal, two_threads: object) -> None:
    two, optimizer = trained(make, penalty, "native")
    torch.set_num_threads(1)
    one, _ = trained(make, penalty, "native")
    plain, _ = trained(make, penalty, "eager")
    for a, b, c in zip(two, one, plain, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=2e-5, atol=2e-6)
    if make is AdamW:
        assert {float(state["step"]) for state in optimizer.state.values()} == {4.0}


def test_every_parameter_counts_its_steps_whatever_the_counter_is_made_of() -> None:
    expected, reference = trained(AdamW, dashpot.L1(strength=3e-3), "native")
    model = Mixed()
    optimizer = AdamW(model, lr=0.01, penalty=dashpot.L1(strength=3e-3), engine="native")
    for step in range(4):
        model.gradients(step)
        optimizer.step()
        for state in optimizer.state.values():
            state["step"] = state["step"].double()
    for a, b in zip(model.parameters(), expected, strict=True):
        assert torch.equal(a, b)
    for run in (optimizer, reference):
        assert {float(state["step"]) for state in run.state.values()} == {4.0}


def converted(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.float()


def turned(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for state in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq", "momentum_buffer"):
            if state.get(name) is not None and state[name].ndim == 4:
                state[name] = state[name].contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "make", [AdamW, lambda model, **options: SGD(model, momentum=0.9, **options)], ids=["AdamW", "SGD"]
)
@pytest.mark.parametrize(
    ("dtype", "change"), [(torch.bfloat16, converted), (torch.float64, converted), (torch.float32, turned)]
)
def test_moments_that_the_kernel_cannot_read_are_left_to_torch(
    make: object, dtype: torch.dtype, change: object
) -> None:
    def run(engine: str) -> list[Tensor] | str:
        model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Linear(300, 200))
        with torch.no_grad():
            for number, p in enumerate(model.parameters()):
                p.copy_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))
        model.to(dtype)
        # One of several functions.
        optimizer = make(model, lr=0.01, penalty=dashpot.L1(strength=1e-3), engine=engine)  # type: ignore[operator]
        try:
            for step in range(3):
                for number, p in enumerate(model.parameters()):
                    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + number)).to(
                        p.dtype
                    )
                optimizer.step()
                if not step:
                    change(model, optimizer)  # type: ignore[operator]  # one of several functions
        except RuntimeError as error:
            return type(error).__name__
        return [p.detach() for p in model.parameters()]

    got, expected = run("native"), run("eager")
    if isinstance(got, str) or isinstance(expected, str):
        assert got == expected
        return
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)


def test_a_subclass_of_tensor_is_left_to_torch() -> None:
    class Elsewhere(Tensor):
        """Like DTensor, whose own memory is none."""

        def data_ptr(self) -> int:
            return 0

    p = nn.Parameter(torch.ones(200, 200).as_subclass(Elsewhere))
    optimizer = AdamW([p], lr=0.1, weight_decay=0.0, penalty=dashpot.L1(strength=0.0), engine="native")
    p.grad = torch.ones(200, 200).as_subclass(Elsewhere)
    optimizer.step()
    torch.testing.assert_close(p.detach().as_subclass(Tensor), torch.full((200, 200), 0.9))


@pytest.mark.parametrize("engine", ["native", "eager"])
@pytest.mark.parametrize(
    ("make", "name"),
    [(AdamW, "exp_avg"), (lambda model, **options: SGD(model, momentum=0.9, **options), "momentum_buffer")],
)
def test_a_state_of_other_shapes_is_refused(make: object, name: str, engine: str) -> None:
    def stepped(rows: int) -> torch.optim.Optimizer:
        model = nn.Linear(200, rows, bias=False)
        # One of several functions.
        optimizer = make(model, lr=0.01, penalty=dashpot.L1(strength=1e-3), engine=engine)  # type: ignore[operator]
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        return optimizer

    large = stepped(300)
    with pytest.raises(
        dashpot.ConfigError,
        match=rf"{name} of parameter 0 in the state must be of the parameter's shape \[300, 200\], got \[20, 200\]",
    ):
        large.load_state_dict(stepped(20).state_dict())
    large.load_state_dict(stepped(300).state_dict())
    large.step()


def test_what_has_no_penalty_is_torchs_to_rounding() -> None:
    ours, theirs = Mixed(), Mixed()
    penalty = dashpot.L1(strength=1e9, on="name:weights.0")
    optimizers = [
        AdamW(ours, lr=0.01, penalty=penalty, engine="native"),
        torch.optim.AdamW(theirs.parameters(), lr=0.01),
    ]
    for step in range(3):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            model.gradients(step)
            optimizer.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if name == "weights.0":
            assert not a.any()
        else:
            torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not torch.backends.openmp.is_available(),
    reason="torch without OpenMP, or not on Linux",
)
def test_the_threads_are_torchs(two_threads: object) -> None:
    assert native.kernel().dashpot_pool() == 2
    assert native.kernel().dashpot_team(2) == 2
    torch.set_num_threads(1)
    assert native.kernel().dashpot_pool() == 1


def test_without_openmp_it_starts_threads_of_its_own() -> None:
    # A process without torch: nobody has loaded an OpenMP runtime.
    layout = {
        "names": list(native.JOB.names),
        "formats": [native.JOB[n].str for n in native.JOB.names],
        "itemsize": native.JOB.itemsize,
    }
    layout["offsets"] = [native.JOB.fields[n][1] for n in native.JOB.names]
    code = f"""
import ctypes, numpy as np
library = ctypes.CDLL({native.kernel()._name!r})
assert library.dashpot_pool() == 0
w = np.linspace(-3, 3, 100_003, dtype=np.float32)
expected = np.sign(w) * np.maximum(np.abs(w) - np.float32(1), 0)
jobs = np.zeros(1, np.dtype({layout!r}))
jobs["p"], jobs["numel"], jobs["step"], jobs["l1"] = w.ctypes.data, w.size, 1, 1
library.dashpot_map(ctypes.c_void_p(jobs.ctypes.data), ctypes.c_int64(1), 0, 3)
assert (w == expected).all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_l1_in_pieces_without_the_kernel(dtype: torch.dtype, amsgrad: bool) -> None:
    numel, strength, lr = 2 * CHUNK + 77, 0.02, 0.01
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(0.01 * torch.randn(numel, 1, generator=generator).to(dtype))
    optimizer = AdamW(
        [p], lr=lr, weight_decay=0.0, amsgrad=amsgrad, penalty=dashpot.L1(strength=strength), engine="eager"
    )
    twin = nn.Parameter(p.detach().clone())
    stock = torch.optim.AdamW([twin], lr=lr, weight_decay=0.0, amsgrad=amsgrad)
    p.grad = 0.1 * torch.randn(numel, 1, generator=generator).to(dtype)
    p.grad[5], p.grad[CHUNK + 3] = torch.nan, 0.0
    twin.grad = p.grad.clone()
    optimizer.step()
    stock.step()
    w = twin.detach().double().numpy()
    v = stock.state[twin]["max_exp_avg_sq" if amsgrad else "exp_avg_sq"].double().numpy()
    t = strength * lr / (np.sqrt(v / (1 - 0.999)) + 1e-8)
    expected = np.sign(w) * np.maximum(np.abs(w) - t, 0)
    assert np.isnan(p.detach().numpy()[5])
    assert 0.01 < (expected == 0).mean() < 0.99
    np.testing.assert_allclose(np.delete(p.detach().numpy(), 5), np.delete(expected, 5), rtol=2e-5, atol=2e-8)


def test_buffers_first_made_in_inference_mode_serve_outside_it() -> None:
    def step() -> None:
        p = nn.Parameter(torch.ones(2 * CHUNK, 1))
        p.grad = torch.ones_like(p)
        AdamW([p], penalty=dashpot.L1(strength=0.1), engine="eager").step()

    def first_of_its_thread() -> None:
        with torch.inference_mode():
            step()
        step()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(first_of_its_thread).result()
