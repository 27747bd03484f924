"""What a run on texts shows: the words that count for each class, and the most confident mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from dashpot.data import Prepared, Problem, Split
from dashpot.data.texts import TextPreprocessing
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_linear import RIDGE, fit_linear
from dashpot.report.texts.words import mistakes_table, words_table, words_that_count
from dashpot.runs.judged import judged_images
from dashpot.runs.saved import write_json
from dashpot.texts.names import feature_names

FILE, TABLE = "texts.json", "texts.txt"


def text_report(folder: Path, problem: Problem, prepared: Prepared, split: Split, network: nn.Module) -> str:
    """Write ``texts.json`` and ``texts.txt`` into a run's folder, and return the table of words; empty for other data.

    The words are those of a linear model of bags of words, fitted to the same training rows: a network of another
    kind has no weight of a word. The mistakes are the network's own, on the test rows.
    """
    how = prepared.preprocessing
    if problem.kind != "text" or not isinstance(how, TextPreprocessing):
        return ""
    classes = problem.classes
    bag = TextBag.of(how.lexicon, max(len(classes), 1), width=0)
    rows = torch.as_tensor(split.train)
    weight = None if prepared.weight is None else prepared.weight[rows]
    fit_linear(bag, prepared.x[rows], prepared.y[rows], how="logistic" if classes else RIDGE, weight=weight)
    # What a word adds, but for the length of its text: a rare one weighs more.
    weights = (bag.linear_weight() * bag.frequency[:, None]).double().numpy()
    words = words_that_count(weights, feature_names(how.lexicon), classes)
    texts = np.asarray(problem.inputs, dtype=object)
    mistakes = [
        {**case, "text": " | ".join(str(part) for part in texts[case["row"]] if part is not None)}
        for case in judged_images(network, prepared, split.test).to_dict()["mistakes"]
    ]
    write_json(folder / FILE, {"words": words, "mistakes": mistakes})
    table = words_table(words)
    (folder / TABLE).write_text(
        f"Words that count for each class, of a linear model on the same rows\n\n{table}\n\n"
        f"The most confident mistakes on test rows\n\n{mistakes_table(mistakes)}\n",
        encoding="utf-8",
    )
    return table
