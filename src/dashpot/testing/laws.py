"""The laws, as functions of a row. Each raises AssertionError with what went wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dashpot.core import codec
from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.penalties.penalty import Penalty, Proximal
from dashpot.testing.row import Pure as Pure
from dashpot.testing.row import Row as Row
from dashpot.testing.row import bad_values
from dashpot.testing.toys import train


def off_equals_absent(row: Row) -> None:
    """At its off value a technique changes nothing, bit for bit."""
    off = row.technique.off_values()
    assert off or "off" in row.technique.waivers, f"{row.technique.name} has no off value and no waiver"
    if off:
        # Every subclass is a dataclass.
        silent = replace(row.technique, **dict([next(iter(off.items()))]))  # type: ignore[type-var]
        _same(train(row.toy, silent)[0], train(row.toy, Recipe())[0], "off differs from absent")


def acts(row: Row) -> None:
    """At its strong setting it does something: to training, to evaluation, or to the verdict."""
    trained, session = train(row.toy, row.technique)
    plain, _ = train(row.toy, Recipe())
    evaluated = session.snapshot()
    changed = any(not torch.equal(trained[k], plain[k]) for k in plain) or any(
        not torch.equal(evaluated[k], trained[k]) for k in trained
    )
    assert changed or row.technique.defines("on_epoch"), f"{row.technique} does nothing"


def same_key_same_draw(row: Row) -> None:
    """The same seed gives the same weights, whatever global random state, and another technique beside it shifts no
    draw.
    """
    first, _ = train(row.toy, row.technique)
    torch.rand(7)
    _same(train(row.toy, row.technique)[0], first, "the same seed gave other weights")
    silent = Mixup(alpha=0.0) if isinstance(row.technique, InputNoise) else InputNoise(std=0.0)
    _same(train(row.toy, silent | row.technique)[0], first, "a technique before it shifted its draws")


def inputs_not_mutated(row: Row) -> None:
    """The caller's batch stays as it was."""
    model = row.toy.network()
    session = row.toy.attach(row.technique, model, torch.optim.SGD(model.parameters(), lr=0.1))
    x, y = row.toy.data()
    before = x.clone(), y.clone()
    batch = session.batch(x, y)
    out = model(batch.x)
    session.loss(row.toy.loss(out, batch.y), out)
    assert torch.equal(x, before[0]), "the caller's batch was changed"
    assert torch.equal(y, before[1]), "the caller's batch was changed"
    assert batch.truth is y, "the truth is not the target that came"


def resume_is_exact(row: Row) -> None:
    """Saved, loaded into new objects and continued: the same bits as without interruption; also what
    evaluation sees.
    """
    whole, session = train(row.toy, row.technique, micro=2)
    parts, resumed = train(row.toy, row.technique, micro=2, interrupt=3)
    _same(parts, whole, "a resumed run differs")
    _same(resumed.snapshot(), session.snapshot(), "a resumed run evaluates differently")


def close_leaves_no_trace(row: Row) -> None:
    """After close() the model is plain: no hooks, the same keys, picklable, the same outputs."""
    model = row.toy.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row.toy.attach(row.technique, model, optimizer).close()
    plain = row.toy.network()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()), "hooks remain on the model"
    assert not optimizer._optimizer_step_pre_hooks, "hooks remain on the optimizer"
    assert not optimizer._optimizer_step_post_hooks, "hooks remain on the optimizer"
    assert list(model.state_dict()) == list(plain.state_dict()), "state-dict keys changed"
    x, _ = row.toy.data()
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), plain(x)), "outputs in training mode changed"


def evaluation_untouched(row: Row) -> None:
    """In evaluation mode outputs, batches and losses are those of the plain model."""
    model, plain = row.toy.network().eval(), row.toy.network().eval()
    session = row.toy.attach(row.technique, model, torch.optim.SGD(model.parameters(), lr=0.1))
    x, y = row.toy.data()
    batch = session.batch(x, y)
    out = model(batch.x)
    assert torch.equal(out, plain(x)), "evaluation changed"
    assert torch.equal(session.loss(row.toy.loss(out, batch.y), out), row.toy.loss(plain(x), y).mean()), (
        "the validation loss changed"
    )


def export_is_plain(row: Row) -> None:
    """export() is a model without hooks that evaluates as the session does."""
    _, session = train(row.toy, row.technique)
    x, _ = row.toy.data()
    with session.evaluate() as model:
        expected = model(x)
    twin = session.export()
    assert torch.equal(twin(x), expected), "the export evaluates differently"
    assert not any(m._forward_hooks for m in twin.modules()), "the export has hooks"


def codec_round_trip(row: Row) -> None:
    """Python, dict, TOML and command-line text say the same."""
    technique = row.technique
    assert codec.from_dict(codec.to_dict(technique)) == Recipe((technique,)), "dict"
    assert codec.loads(codec.dumps(technique)) == Recipe((technique,)), "TOML"
    assert codec.parse(codec.to_text(technique)) == technique, "command-line text"
    # Every technique is a dataclass, which the base class cannot say.
    assert hash(technique) == hash(replace(technique)), "hash"  # type: ignore[type-var]


def fields_refuse(row: Row) -> None:
    """Every field refuses values outside its domain, naming field, rule and value."""
    for name, spec in row.technique.fields().items():
        for bad in bad_values(spec.domain):
            try:
                # Every technique is a dataclass, which the base class cannot say.
                replace(row.technique, **{name: bad})  # type: ignore[type-var]
            except ConfigError as error:
                told = str(error)
                assert name in told, told
                assert repr(bad) in told, told
                assert "must be" in told, told
            else:
                raise AssertionError(f"{type(row.technique).__name__}.{name} accepted {bad!r}")


def keeps_dtype(row: Row) -> None:
    """float64, float32 and bfloat16 in, the same out."""
    for pure in row.functions:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            assert pure.function(*pure.arguments(dtype)).dtype == dtype, f"{_name(pure)} changes {dtype}"


def agrees_with_reference(row: Row) -> None:
    """Equal to an independent float64 reference."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float64)
        expected = pure.reference(*(a.numpy() if isinstance(a, Tensor) else a for a in arguments))
        np.testing.assert_allclose(
            pure.function(*arguments).numpy(), expected, rtol=1e-6, atol=1e-9, err_msg=_name(pure)
        )


def does_not_write(row: Row) -> None:
    """A pure function leaves its arguments alone."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float32)
        before = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
        pure.function(*arguments)
        for old, new in zip(before, arguments, strict=True):
            assert not isinstance(new, Tensor) or torch.equal(old, new), f"{_name(pure)} writes to its argument"


def vmaps_over_strengths(row: Row) -> None:
    """A population's strengths in one call: what each gives alone, to the rounding of float64. No bit for bit: batched
    sums, exponentials and decompositions may be computed in another order than single ones.
    """
    for pure in row.functions:
        if pure.strength is None:
            continue
        arguments = list(pure.arguments(torch.float64))
        strengths = arguments[pure.strength] * torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        alone = [pure.function(*(s if i == pure.strength else a for i, a in enumerate(arguments))) for s in strengths]
        dims = tuple(0 if i == pure.strength else None for i in range(len(arguments)))
        arguments[pure.strength] = strengths
        together = torch.func.vmap(pure.function, in_dims=dims)(*arguments)
        torch.testing.assert_close(
            together, torch.stack(alone), rtol=1e-12, atol=1e-13, msg=lambda m, p=pure: f"{_name(p)} under vmap: {m}"
        )


def differentiates(row: Row) -> None:
    """Gradients agree with finite differences in float64."""
    for pure in row.functions:
        if pure.differentiable:
            first, *rest = pure.arguments(torch.float64)
            assert torch.autograd.gradcheck(
                lambda x, f=pure.function, r=tuple(rest): f(x, *r), first.requires_grad_()
            ), _name(pure)


def compiles(row: Row) -> None:
    """One graph, and the same numbers as eager."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float32)
        compiled = torch.compile(pure.function, fullgraph=True)
        torch.testing.assert_close(compiled(*arguments), pure.function(*arguments), msg=_name(pure))


def prox_is_optimal(row: Row) -> None:
    """No point beats the proximal map, for one step and for one step per weight; it is non-expansive if convex; zero
    stays zero; stationarity vanishes at its result.
    """
    penalty = row.technique
    if not isinstance(penalty, Proximal):
        return
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    w, v = 3 * normal(8, 6), 3 * normal(8, 6)
    steps: list[float | Tensor] = [0.1, 1.0, 7.0]
    if penalty.scaling == "adaptive" and not penalty.scalar_only:
        # Adam's steps differ by orders of magnitude between the weights of one group.
        steps += [torch.exp(normal(8, 6)), torch.exp(3 * normal(8, 6))]
    for step in steps:

        def cost(u: Tensor, step: float | Tensor = step) -> Tensor:
            return ((u - w).square() / (2 * step)).sum() + penalty.value(u)

        u = penalty.prox(w, step)
        mine = cost(u)
        candidates = [torch.zeros_like(w), w, v] + [
            u + size * normal(8, 6) for size in (1e-4, 1e-2, 0.1, 1.0) for _ in range(50)
        ]
        candidates += [u * factor for factor in (0.9, 0.99, 1.01, 1.1)]
        for point in candidates:
            # Random points are outside of a constraint; their projections are not.
            for one in (point, penalty.prox(point, step)):
                assert mine <= cost(one) + 1e-9, "a random point beats the map"
        if penalty.separable:
            _no_grid_point_is_better(penalty, w, u, step)
        if penalty.convex and not isinstance(step, Tensor):
            assert (penalty.prox(v, step) - u).norm() <= (v - w).norm() + 1e-12, "the map expands"
        assert penalty.stationarity(u, (u - w) / step).abs().max() < 1e-8, "the result is not stationary"
    zero = torch.zeros(4, 6)
    assert torch.equal(penalty.prox(zero, 0.0 if isinstance(penalty, Penalty) else 1.0), zero), "prox(0, 0) is not 0"
    if isinstance(penalty, Penalty):
        assert torch.equal(penalty.prox(w, 0.0), w), "a step of 0 moves weights"
        assert torch.equal(replace(penalty, strength=0.0).prox(w, 1.0), w), "a strength of 0 moves weights"


def _no_grid_point_is_better(penalty: Proximal, w: Tensor, u: Tensor, step: float | Tensor) -> None:
    grid = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    price = torch.stack([penalty.value(point.reshape(1, 1)) for point in grid])
    each = torch.as_tensor(step, dtype=torch.float64).expand_as(w)
    for start, found, s in zip(w.reshape(-1), u.reshape(-1), each.reshape(-1), strict=True):
        mine = (found - start).square() / 2 + s * penalty.value(found.reshape(1, 1))
        assert mine <= ((grid - start).square() / 2 + s * price).min() + 1e-9, (
            f"a grid point beats the map at {float(start)}"
        )


LAWS: dict[str, Callable[[Row], None]] = {
    law.__name__: law
    for law in (
        off_equals_absent,
        acts,
        same_key_same_draw,
        inputs_not_mutated,
        resume_is_exact,
        close_leaves_no_trace,
        evaluation_untouched,
        export_is_plain,
        codec_round_trip,
        fields_refuse,
        keeps_dtype,
        agrees_with_reference,
        does_not_write,
        vmaps_over_strengths,
        differentiates,
        prox_is_optimal,
        compiles,
    )
}


def run_laws(row: Row, *, without: tuple[str, ...] = ()) -> None:
    """Every law on one row.

    Args:
        without: names of laws to leave out, such as ``("compiles",)`` where there is no compiler.
    """
    for name, law in LAWS.items():
        if name not in without:
            law(row)


def _same(got: dict[str, Tensor], expected: dict[str, Tensor], message: str) -> None:
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), f"{message}, in {name}"


def _name(pure: Pure) -> str:
    return str(getattr(pure.function, "__name__", pure.function))
