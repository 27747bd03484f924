"""The laws, as functions of a row. Each raises AssertionError with what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dashpot.core.errors import ConfigError
from dashpot.core.fields import codec
from dashpot.core.recipe import Recipe
from dashpot.techniques.penalties.proximal import Proximal
from dashpot.testing import functions, work
from dashpot.testing.row import Row, bad_values


def codec_round_trip(row: Row) -> None:
    """Python, dict, TOML and command-line text say the same."""
    technique = row.technique
    assert codec.from_dict(codec.to_dict(technique)) == Recipe((technique,)), "dict"
    assert codec.loads(codec.dumps(technique)) == Recipe((technique,)), "TOML"
    assert codec.parse(codec.to_text(technique)) == technique, "command-line text"
    # Every technique is a dataclass, which the base class cannot say.
    assert hash(technique) == hash(replace(technique)), "hash"


def fields_refuse(row: Row) -> None:
    """Every field refuses values outside its domain, naming field, rule and value."""
    for name, spec in row.technique.fields().items():
        for bad in bad_values(spec.domain):
            try:
                # Every technique is a dataclass, which the base class cannot say.
                replace(row.technique, **{name: bad})
            except ConfigError as error:
                told = str(error)
                assert name in told, told
                assert repr(bad) in told, told
                assert "must be" in told, told
            else:
                raise AssertionError(f"{type(row.technique).__name__}.{name} accepted {bad!r}")


def _always(row: Row) -> bool:
    return True


def _functions(row: Row) -> bool:
    return bool(row.functions)


def _strengths(row: Row) -> bool:
    return any(pure.strength is not None for pure in row.functions)


def _at(*points: str) -> Callable[[Row], bool]:
    return lambda row: any(row.technique.defines(point) for point in points)


_CASES: list[tuple[Callable[[Row], None], Callable[[Row], bool]]] = [
    (work.off_equals_absent, _always),
    (work.acts, _always),
    (work.same_key_same_draw, _always),
    (work.inputs_not_mutated, _at("on_batch", "on_loss")),
    (work.resume_is_exact, _always),
    (work.close_leaves_no_trace, _always),
    (work.evaluation_untouched, _at("on_batch", "on_loss", "on_model")),
    (work.export_is_plain, _at("on_build", "on_model", "weights", "final")),
    (work.steps_as_reference, lambda row: row.step is not None),
    (codec_round_trip, _always),
    (fields_refuse, _always),
    (functions.keeps_dtype, _functions),
    (functions.agrees_with_reference, _functions),
    (functions.does_not_write, _functions),
    (functions.vmaps_over_strengths, _strengths),
    (functions.differentiates, _functions),
    (functions.prox_is_optimal, lambda row: isinstance(row.technique, Proximal)),
    (functions.compiles, _functions),
]
LAWS: dict[str, Callable[[Row], None]] = {law.__name__: law for law, _ in _CASES}
AT_WORK = tuple(name for name in LAWS if hasattr(work, name) and name != "steps_as_reference")
"""Those that train the row's toy."""


def applies(law: str, row: Row) -> bool:
    """Whether the law applies to the row: at a point that a technique lacks, a law would only test the session."""
    return next(fits for function, fits in _CASES if function.__name__ == law)(row)


def run_laws(row: Row, *, without: tuple[str, ...] = ()) -> None:
    """Run every law that applies to the row.

    Args:
        without: names of laws to leave out, such as ``("compiles",)`` where there is no compiler.
    """
    for name, law in LAWS.items():
        if name not in without and applies(name, row):
            law(row)
