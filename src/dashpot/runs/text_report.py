"""What a run on texts shows: the words that count for each class, and the most confident mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from dashpot.data import Prepared, Problem, Split
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.evaluation.decision import Decision
from dashpot.nets.ensemble import Ensemble
from dashpot.nets.text_bag import TextBag
from dashpot.report.texts.alone import alone_line
from dashpot.report.texts.words import Counting, kept_line, mistakes_table, words_table, words_that_count
from dashpot.runs.judged import judged_rows
from dashpot.runs.saved import write_json
from dashpot.runs.text_columns import WordRows, has_texts, told_rows
from dashpot.texts.names import feature_names

FILE, TABLE = "texts.json", "texts.txt"
OWN = "a linear model on the same rows"


@dataclass(frozen=True)
class TextAnswers:
    """The words that count for each class, and the most confident mistakes.

    Attributes:
        words: of each class, with their weights; empty where no part of the model has a weight of a word.
        mistakes: as :meth:`dashpot.report.images.cases.Judged.to_dict` has them, with their texts.
        source: the model that the weights are of, in words.
        kept: the words, pieces and grams that a penalty has left in a bag of words, the largest weights first; empty
            where it has not zeroed most of them.
        features: of how many.
        alone: of a table, what a linear model of the words alone has, beside the network: see
            :func:`dashpot.comparison.words_alone.words_beside`.
    """

    words: Counting
    mistakes: Sequence[Mapping[str, Any]]
    source: str = OWN
    kept: Sequence[str] = ()
    features: int = 0
    alone: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """A line for each class, one of what was kept, and one where the words alone are enough; empty where there are
        no words.
        """
        parts = words_table(self.words), kept_line(self.kept, self.features), alone_line(self.alone)
        return "\n".join(filter(None, parts))

    def write(self, folder: Path) -> None:
        """``texts.json`` and ``texts.txt`` in the folder of a run."""
        every = {"words": self.words, "mistakes": list(self.mistakes), "source": self.source}
        write_json(folder / FILE, {**every, "kept": list(self.kept), "features": self.features, "alone": self.alone})
        shown = f"Words that count for each class, of {self.source}\n\n{self.table}\n\n" if self.words else ""
        (folder / TABLE).write_text(
            f"{shown}The most confident mistakes on test rows\n\n{mistakes_table(self.mistakes)}\n", encoding="utf-8"
        )

    @staticmethod
    def read(folder: Path) -> TextAnswers | None:
        """What :meth:`write` wrote; None where there is nothing."""
        if not (folder / FILE).exists():
            return None
        return TextAnswers(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def text_report(
    folder: Path,
    problem: Problem,
    prepared: Prepared,
    split: Split,
    network: nn.Module,
    alone: Mapping[str, Any] | None = None,
) -> str:
    """Write ``texts.json`` and ``texts.txt`` into a run's folder, and return the table of words; empty for other data.

    The words are those of a linear model of bags of words, fitted to the same training rows: a network of another
    kind has no weight of a word. Of a table it reads the columns of texts alone. The mistakes are the network's own, on
    the test rows. ``alone`` is what was measured of the words alone.
    """
    if not has_texts(problem, prepared):
        return ""
    words, features = _words_beside(problem, prepared, split.train)
    how = prepared.preprocessing
    kept = _kept(weighing(network), how) if isinstance(how, TextPreprocessing) else []
    mistakes = _mistakes(problem, prepared, split.test, network)
    found = TextAnswers(words, mistakes, kept=kept, features=features if kept else 0, alone=alone or {})
    found.write(folder)
    return found.table


def text_answers(
    problem: Problem,
    prepared: Prepared,
    rows: np.ndarray,
    network: nn.Module,
    decision: Decision | None = None,
    outputs: Tensor | None = None,
    train: np.ndarray | None = None,
) -> TextAnswers | None:
    """Of a search's final model; None for other data. The words are those of its own part that :func:`weighing` finds;
    of a table those of a linear model of its columns of texts, since the model has topics.

    Args:
        rows: of the test.
        train: rows that the linear model of a table learns from; None for a table: no words.
        decision: from outputs to classes.
        outputs: of the network for the rows; None where there are no rows.
    """
    how = prepared.preprocessing
    if not has_texts(problem, prepared):
        return None
    known = outputs is not None and bool(outputs.isfinite().all())
    mistakes = _mistakes(problem, prepared, rows, network, decision, outputs) if known else []
    if not isinstance(how, TextPreprocessing):
        beside: Counting = {} if train is None else _words_beside(problem, prepared, train)[0]
        return TextAnswers(beside, mistakes)
    bag = weighing(network)
    words: Counting = {} if bag is None else _words(bag, how, problem.classes)
    kind = "the linear model" if bag is not None and not bag.width else "the linear part of a bag of words"
    kept = _kept(bag, how)
    features = bag.features if bag is not None and kept else 0
    return TextAnswers(words, mistakes, f"{kind} that counts most in the final model", kept, features)


def weighing(network: nn.Module) -> TextBag | None:
    """The linear model with the largest weight in an ensemble; without one the linear part of a bag of words; None
    where there is neither.

    >>> bags = [TextBag(9, 2, pieces=0, grams=0, links=0, width=width) for width in (4, 0, 0)]
    >>> weighing(Ensemble(bags, [5.0, 1.0, 2.0], classes=True)) is bags[2], weighing(bags[0]) is bags[0]
    (True, True)
    """
    parts: list[tuple[nn.Module, float]] = [(network, 1.0)]
    if isinstance(network, Ensemble):
        parts = list(zip(network.networks, network.weights, strict=True))
    bags = [(part.width == 0, weight, part) for part, weight in parts if isinstance(part, TextBag)]
    return max(bags, key=lambda bag: bag[:2])[2] if bags else None


def _words_beside(problem: Problem, prepared: Prepared, train: np.ndarray) -> tuple[Counting, int]:
    """The words that count for a linear model of the training rows, and how many features it has."""
    found = WordRows.of(problem, prepared, train)
    if found is None:
        return {}, 0
    bag = found.linear(prepared, len(problem.classes))
    return _words(bag, found.how, problem.classes), bag.features


def _words(bag: TextBag, how: TextPreprocessing, classes: Sequence[str]) -> Counting:
    # What a word adds, but for the length of its text: a rare one weighs more.
    weights = (bag.linear_weight() * bag.frequency[:, None]).double().numpy()
    return words_that_count(weights, feature_names(how.lexicon), classes)


def _kept(bag: TextBag | None, how: TextPreprocessing) -> list[str]:
    """What a penalty has left; nothing where more than half is left, since no penalty did that: a network of a fold
    has zeros for what only its held-out rows hold.
    """
    if bag is None:
        return []
    weight = bag.linear_weight().abs().amax(dim=1)
    kept = int((weight != 0).sum())
    names = feature_names(how.lexicon)
    return (
        [names[i] for i in weight.argsort(descending=True, stable=True)[:kept].tolist()]
        if 2 * kept < len(weight)
        else []
    )


def _mistakes(
    problem: Problem,
    prepared: Prepared,
    rows: np.ndarray,
    network: nn.Module,
    decision: Decision | None = None,
    outputs: Tensor | None = None,
) -> list[dict[str, Any]]:
    cases = judged_rows(network, prepared, rows, decision, outputs).to_dict()["mistakes"]
    texts = told_rows(problem, [case["row"] for case in cases])
    return [{**case, "text": text} for case, text in zip(cases, texts, strict=True)]
