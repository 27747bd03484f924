"""Laws of a technique in training: attached, trained, saved, evaluated, closed."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.recipe import Recipe
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.technique import Technique
from dashpot.testing.row import Row
from dashpot.testing.toys import same, state, train


class Neighbour(Technique):
    """Draws for each batch, and changes nothing."""

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        ctx.draws().uniform((7,), torch.device("cpu"))
        return batch


def off_equals_absent(row: Row) -> None:
    """At its off value a technique changes nothing, bit for bit."""
    off = row.technique.off_values()
    assert off or "off" in row.technique.waivers, f"{row.technique.name} has no off value and no waiver"
    if off:
        # Every subclass is a dataclass.
        silent = replace(row.technique, **dict([next(iter(off.items()))]))
        same(train(row.toy, silent)[0], train(row.toy, Recipe())[0], "off differs from absent")


def acts(row: Row) -> None:
    """At its strong setting it changes something: the weights, what evaluation sees, or an epoch's verdict."""
    technique = row.technique
    if "acts" in technique.waivers:
        return
    trained, session = train(row.toy, technique)
    if technique.defines("on_epoch"):
        if "acts" not in technique.waivers:
            _ends(row)
        return
    plain, _ = train(row.toy, Recipe())
    evaluated = session.snapshot()
    if trained.keys() != plain.keys():  # under names of its own: what it leaves behind tells
        trained = evaluated = state(session.export())
    assert any(not torch.equal(trained[k], plain[k]) for k in plain) or any(
        not torch.equal(evaluated[k], trained[k]) for k in trained
    ), f"{technique} does nothing"


def _ends(row: Row) -> None:
    """Scores that only worsen must end a training, or give back the weights of the first epoch; scores that only
    improve must do neither.
    """
    for slope, reacts in ((1.0, True), (-1.0, False)):
        session = train(row.toy, row.technique, steps=1)[1]
        stopped = False
        for epoch in range(1, 101):
            with torch.no_grad():
                for p in session.view.model.parameters():
                    p.add_(0.01)
            stopped = stopped or session.epoch(dict.fromkeys(row.scores, slope * epoch)).stop
        last = {name: t.detach().clone() for name, t in session.view.model.state_dict().items()}
        session.finish()
        ended = session.view.model.state_dict()
        session.close()
        changed = stopped or any(not torch.equal(ended[name], t) for name, t in last.items())
        assert changed == reacts, f"{row.technique} is wrong about scores that change by {slope:+g} an epoch"


def same_key_same_draw(row: Row) -> None:
    """The same seed gives the same weights, whatever global random state, and another technique beside it shifts no
    draw.
    """
    first, _ = train(row.toy, row.technique)
    torch.rand(7)
    same(train(row.toy, row.technique)[0], first, "the same seed gave other weights")
    same(train(row.toy, Neighbour() | row.technique)[0], first, "a technique before it shifted its draws")


def inputs_not_mutated(row: Row) -> None:
    """The caller's batch stays as it was."""
    model = row.toy.network()
    session = row.toy.attach(row.technique, model, torch.optim.SGD(model.parameters(), lr=0.1))
    x, y = row.toy.data()
    before = copy.deepcopy(x), y.clone()
    batch = session.batch(x, y)
    out = model(batch.x)
    session.loss(row.toy.loss(out, batch.y), out)
    same = torch.equal(x, before[0]) if isinstance(x, Tensor) else x == before[0]
    assert same, "the caller's batch was changed"
    assert torch.equal(y, before[1]), "the caller's batch was changed"
    assert batch.truth is y, "the truth is not the target that came"


def resume_is_exact(row: Row) -> None:
    """Saved, loaded into new objects and continued: the same bits as without interruption; also what
    evaluation sees.
    """
    whole, session = train(row.toy, row.technique, micro=2)
    parts, resumed = train(row.toy, row.technique, micro=2, interrupt=3)
    same(parts, whole, "a resumed run differs")
    same(resumed.snapshot(), session.snapshot(), "a resumed run evaluates differently")


def close_leaves_no_trace(row: Row) -> None:
    """After close() the model is as before: no hooks, the same keys, picklable, the same outputs."""
    model = row.toy.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row.toy.attach(row.technique, model, optimizer).close()
    plain = row.toy.network()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()), "hooks remain on the model"
    assert not optimizer._optimizer_step_pre_hooks, "hooks remain on the optimizer"
    assert not optimizer._optimizer_step_post_hooks, "hooks remain on the optimizer"
    assert list(model.state_dict()) == list(plain.state_dict()), "state-dict keys changed"
    x, _ = row.toy.data()
    twin = pickle.loads(pickle.dumps(model))
    with row.toy.randomness():
        expected = plain(x)
    with row.toy.randomness():
        assert torch.equal(twin(x), expected), "outputs in training mode changed"


def evaluation_untouched(row: Row) -> None:
    """In evaluation mode outputs, batches and losses are those of the model without techniques."""
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


def steps_as_reference(row: Row) -> None:
    """One step of SGD on a quadratic loss, by the class itself: evaluation sees what the row's own loop says."""
    assert row.step is not None
    model = nn.Linear(4, 3, bias=False).double().to(row.toy.device)
    g = torch.Generator().manual_seed(0)
    start, pull = (torch.randn(3, 4, generator=g, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        model.weight.copy_(start)
    there = pull.to(row.toy.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = row.technique.attach(model, optimizer, closure=row.technique.evaluations > 1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model.weight.square() / 2 + there * model.weight).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    optimizer.step(closure)
    seen = session.snapshot()["weight"].cpu().numpy()
    session.close()
    expected = row.step(start.numpy(), lambda w: w + pull.numpy(), 0.1)
    np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12, err_msg=str(row.technique))
