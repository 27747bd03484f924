"""Pages that are made of the library: a card for every technique, and the API by groups."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections import defaultdict
from pathlib import Path

from evidence import family_cell
from measured import RESULTS
from sphinx.application import Sphinx

import dashpot
from dashpot.core.fields.codec import registry
from dashpot.core.language import say, speaking, spoken
from dashpot.core.rules import sentence
from dashpot.report.cards import facts_of

FAMILIES = {
    "augment.geometry": "Images: geometry",
    "augment.colour": "Images: colour",
    "augment.noise": "Inputs: noise and erasing",
    "augment.mixing": "Mixing of samples",
    "augment.policies": "Images: policies",
    "augment.text": "Texts",
    "augment.signal": "Signals",
    "dropout": "Dropout",
    "noise": "Noise and adversarial examples",
    "labels": "Labels",
    "outputs": "Losses and outputs",
    "gradient": "Gradients",
    "sharpness": "Sharpness",
    "normalization": "Normalization",
    "penalties": "Penalties and constraints on weights",
    "fine_tuning": "Fine-tuning",
    "averaging": "Averages of weights",
    "stopping": "Stopping",
}
"""Folders of ``dashpot.techniques``, in the order of the page."""

API = {
    "Search and compare": ["tune", "SearchConfig", "TuneResult", "robustness", "RobustnessResult"],
    "Train and predict": [
        *("fit", "FitResult", "scores", "tta_predict", "TTA", "TTAResult", "mc_predict", "MCResult"),
        *("dropout_ensemble_gap", "EnsembleGap", "ensemble_predict"),
    ],
    "Estimators": ["DashpotClassifier", "DashpotRegressor", "monotone_violations", "Violations"],
    "Recipes and sessions": ["Technique", "Recipe", "Session", "Batch", "Where", "Verdict"],
    "Exact zeros": [
        *("path", "PathResult", "inspect", "stationarity", "selected_features", "stability_selection"),
        *("max_strength", "resolve_strengths", "size_path", "shrink", "Shrunk", "save_shrunk", "load_shrunk"),
    ],
    "Optimizers with a penalty": ["optim.AdamW", "optim.SGD"],
    "Averages and fine-tuning": [
        *("soup", "greedy_soup", "interpolate", "recalibrate", "fold_batch_norm"),
        *("replace_head", "freeze", "finetune_groups"),
    ],
    "Augmented data": ["augment.Augmented"],
    "Errors": [
        *("DashpotError", "UsageError", "ConfigError", "ConflictError", "DataError", "UnknownNameError"),
        *("StorageError", "DivergedError"),
    ],
}
"""What is shown but is no technique, by purpose; whatever else is public stands under Others."""
MEMBERS = ["   :members:", "   :exclude-members: set_fit_request, set_score_request, set_predict_request"]
"""Of classes; what scikit-learn adds to every estimator is not shown."""
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([\w./-]+\.md)(?:#[\w-]*)?\)")
"""To another file of the repository."""
MODULES = ["schedules", "penalties", "normalization"]
"""Modules whose functions are listed, too."""


def classes() -> dict[str, type[dashpot.Technique]]:
    """The library's techniques by name."""
    return {name: cls for name, cls in registry().items() if cls.__module__.startswith("dashpot.techniques.")}


def family(cls: type) -> str:
    """The folder that a technique stands in."""
    parts = cls.__module__.removeprefix("dashpot.techniques.").split(".")[:-1]
    return ".".join(parts[:2] if parts[0] == "augment" else parts[:1])


def public(cls: type) -> str:
    """The name by which users import a technique."""
    if hasattr(dashpot, cls.__name__):
        return f"dashpot.{cls.__name__}"
    space = family(cls).split(".")
    module = "augment.text" if space[:2] == ["augment", "text"] else space[0]
    return f"dashpot.{module}.{cls.__name__}"


def write(path: Path, text: str) -> None:
    """Only where it differs, so that Sphinx builds again only what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def heading(text: str, mark: str = "=") -> list[str]:
    return [text, mark * len(text), ""]


def rows(head: list[str], body: list[list[str]], widths: str) -> list[str]:
    """A list-table."""
    out = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for cells in (head, *body):
        out += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(cells)]
    return [*out, ""]


def summary(cls: type[dashpot.Technique]) -> str:
    """What a technique does, as a sentence in the language that is spoken."""
    return f"{sentence(cls.summary)}." if spoken() == "en" else f"{say(cls.summary)}。"


def card_page(name: str, cls: type[dashpot.Technique]) -> str:
    """A technique's page: summary, docstring, fields, rules, and what it was measured to earn."""
    out = [*heading(cls.__name__), summary(cls), "", f"``{name}`` on the command line.", ""]
    own = [n for n, v in vars(cls).items() if isinstance(v, classmethod) and not n.startswith("_") and v.__doc__]
    out += [f".. autoclass:: {public(cls)}"]
    out += [f"   :members: {', '.join(own)}"] if own else []
    out += ["", *heading("Fields", "-")]
    fields = [
        [
            f"``{spec.name}``",
            f"``{spec.default!r}``",
            escaped(spec.domain.rule),
            escaped("; ".join(facts_of(spec.domain))),
        ]
        for spec in cls.fields().values()
    ]
    out += (
        rows(["field", "default", "values", "in a search"], fields, "20 15 40 25") if fields else ["It has none.", ""]
    )
    if cls.evaluations > 1:
        out += [f"Gradients per step: {cls.evaluations}; the optimizer is stepped with a closure.", ""]
    if cls.rules or cls.waivers:
        out += heading("In combination", "-")
        for rule in cls.rules:
            text = f"{sentence(rule.trouble)} *{sentence(rule.outcome)}*: {sentence(rule.way)}"
            out += [f"- With {escaped(rule.meets)}: {escaped(text)}"]
        out += [f"- Law not kept, {law}: {escaped(reason)}" for law, reason in cls.waivers.items()]
        out += ["", "All rules: :doc:`/combinations`.", ""]
    return "\n".join([*out, *earned(name)]) + "\n"


def escaped(text: str) -> str:
    """Plain text with code in single backticks, as reStructuredText."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("``", "`").replace("`", "``")


def earned(name: str) -> list[str]:
    """Its rows of the table of families, where it is measured."""
    path = RESULTS / "families.json"
    sets = json.loads(path.read_text(encoding="utf-8"))["sets"] if path.exists() else {}
    body = []
    for data, found in sets.items():
        for text, one in found["techniques"].items():
            if text.split("|")[0].split(":")[0] == name:
                cell = family_cell(one)
                body.append([data, f"``{text}``", cell, str(found["seeds"])])
    if not body:
        return []
    return [
        *heading("What it earned alone", "-"),
        "Test log loss less that of the network without any technique, in thousandths, with 95 % intervals; below zero",
        "is better, bold is beyond chance. One usual strength, chosen before. :doc:`/which` has all of them.",
        "",
        *rows(["data", "setting", "difference", "seeds"], body, "25 35 25 15"),
    ]


def techniques_index(found: dict[str, type[dashpot.Technique]]) -> str:
    """All techniques by family, one line each."""
    out = [*heading("Techniques"), "Each has a card: formula, ranges, paper, and when not to use it.", ""]
    by_family: dict[str, list[str]] = defaultdict(list)
    for name, cls in found.items():
        by_family[family(cls)].append(name)
    unknown = set(by_family) - set(FAMILIES)
    assert not unknown, f"pages.FAMILIES lacks {unknown}"
    for key, title in FAMILIES.items():
        lines = [[f":doc:`{found[n].__name__} <{n}>`", summary(found[n])] for n in by_family[key]]
        out += [*heading(title, "-"), *rows(["technique", "what it does"], lines, "30 70")]
    names = [n for key in FAMILIES for n in by_family[key]]
    return "\n".join([*out, ".. toctree::", "   :hidden:", "", *(f"   {n}" for n in names), ""])


def api_pages(folder: Path, known: set[str]) -> None:
    """The public surface without techniques, by purpose."""
    listed = {name for names in API.values() for name in names}
    others = [
        name for name in dashpot.__all__ if name not in listed | known and not inspect.ismodule(getattr(dashpot, name))
    ]
    groups = {**API, **({"Others": others} if others else {})}
    index = [*heading("API"), "Everything public. Techniques have :doc:`cards </techniques/index>`.", ""]
    paths = []
    for title, names in groups.items():
        out, lines = heading(title), []
        for name in names:
            thing = dashpot
            for part in name.split("."):
                thing = getattr(thing, part)
            kind = "class" if inspect.isclass(thing) else "function"
            kind = "exception" if kind == "class" and issubclass(thing, Exception) else kind
            out += [f".. auto{kind}:: dashpot.{name}", *(MEMBERS if kind == "class" else []), ""]
            role = {"class": "class", "function": "func", "exception": "exc"}[kind]
            first = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
            lines.append([f":{role}:`~dashpot.{name}`", first])
        path = title.lower().replace(" ", "-")
        write(folder / f"{path}.rst", "\n".join(out) + "\n")
        paths.append(path)
        index += [*heading(title, "-"), *rows(["name", "what it is"], lines, "30 70")]
    for module in MODULES:
        found = importlib.import_module(f"dashpot.{module}")
        out = [*heading(f"dashpot.{module}"), " ".join((found.__doc__ or "").split()), ""]
        shown = [n for n in getattr(found, "__all__", ()) if n not in known and n not in listed]
        out += [
            line
            for n in shown
            for line in (
                f".. auto{'class' if inspect.isclass(getattr(found, n)) else 'function'}:: dashpot.{module}.{n}",
                "",
            )
        ]
        write(folder / f"{module}.rst", "\n".join(out) + "\n")
        paths.append(module)
    index += [".. toctree::", "   :hidden:", "", *(f"   {p}" for p in paths), ""]
    write(folder / "index.rst", "\n".join(index))


def generate(app: Sphinx) -> None:
    found = classes()
    folder = Path(app.srcdir) / "techniques"
    # The Chinese build has the cards' first lines in Chinese, as the commands do.
    with speaking("zh" if (app.config.language or "").startswith("zh") else "en"):
        for name, cls in found.items():
            write(folder / f"{name}.rst", card_page(name, cls))
        for path in folder.glob("*.rst"):
            if path.stem not in found and path.stem != "index":
                path.unlink()
        write(folder / "index.rst", techniques_index(found))
    api_pages(Path(app.srcdir) / "api", {cls.__name__ for cls in found.values()})


def only_there(app: Sphinx, docname: str, source: list[str]) -> None:
    """A line of a table of contents that ends in a star is left out where no page matches it, and so are links to files
    of the repository that are no pages.
    """
    here = Path(app.srcdir) / Path(docname).parent
    lines = source[0].splitlines()
    for line in [text for text in lines if re.fullmatch(r"/?[\w-]+\*", text)]:
        if not list((Path(app.srcdir) if line.startswith("/") else here).glob(line.lstrip("/") + ".md")):
            lines.remove(line)
    source[0] = LINK.sub(lambda found: linked(here, Path(app.srcdir), found), "\n".join(lines) + "\n")


def linked(here: Path, root: Path, found: re.Match[str]) -> str:
    """A link of a page as it is, or its words alone where it leads to no page of the site."""
    target = (here / found[2]).resolve()
    return found[0] if target.exists() and target.is_relative_to(root) else found[1]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    app.connect("source-read", only_there)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
