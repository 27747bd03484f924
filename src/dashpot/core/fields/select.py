"""``Where``: which parameters, or which modules, a technique acts on.

A ``Where`` is an expression over *roles*, *names* and *types*, written in Python or as text::

    weights                        what decay and sparsity are meant for: no biases, norms or embeddings
    weights | embeddings           either
    weights & ~Where.name("head.*")
    "weights & ~name:head.*"       the same as text (in TOML and on the command line)
    "type:Conv2d"                  by the type of the owning module

``&`` binds tighter than ``|``; ``~`` applies to one term. A name in which one of these stands is written in double
quotes, ``name:"a|b"``, two of them for one inside. Roles are found from the type of the owning module, never
from the name or the number of dimensions alone, so a one-dimensional scale of an unknown module counts as ``scales``,
not ``weights``.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass

from torch import Tensor, nn

from dashpot.core.axes import NORMS
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.quoting import quoted, split, unquoted

REPARAMETRIZED = "reparametrized"
PARAMETER_ROLES = ("weights", "biases", "norms", "embeddings", "scales", REPARAMETRIZED)
MODULE_ROLES = ("activations", "dropouts", "linears", "convolutions", "branches", "hidden")
ROLES = (*PARAMETER_ROLES, *MODULE_ROLES, "everything")

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_ACTIVATIONS: tuple[type, ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.GLU),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softplus, nn.Softsign, nn.Tanhshrink),
)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (nn.Linear, nn.Bilinear, *_CONVOLUTIONS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


def parameter_role(module: nn.Module, name: str, parameter: Tensor) -> str:
    """The role of ``module``'s own parameter ``name``."""
    if isinstance(module, NORMS):
        return "norms"
    declared = getattr(type(module), "parameter_role", "")  # a module of one's own may say what its parameters are
    if isinstance(module, _EMBEDDINGS) and declared not in PARAMETER_ROLES:
        return "embeddings"
    leaf = name.removeprefix("in_proj_")
    if leaf.startswith("bias") or leaf.endswith("_bias"):
        return "biases"
    if declared in PARAMETER_ROLES:
        return str(declared)
    if isinstance(module, _WEIGHTED) or parameter.ndim >= 2:
        return "weights"
    return "scales"


def module_role(module: nn.Module) -> str:
    """The role of a module, or ``""``: an embedding of places (its attribute ``of_places``) holds no words."""
    if getattr(module, "of_places", False) is True:
        return ""
    for role, types in (
        ("dropouts", _DROPOUTS),
        ("activations", _ACTIVATIONS),
        ("linears", (nn.Linear, nn.Bilinear)),
        ("convolutions", _CONVOLUTIONS),
        ("embeddings", _EMBEDDINGS),
    ):
        if isinstance(module, types):
            return role
    return ""


@dataclass(frozen=True)
class Term:
    """One test: ``role``, ``name:glob`` or ``type:ClassName``, possibly negated.

    Raises:
        UnknownNameError: an unknown role.
        ConfigError: an empty name or type.
    """

    kind: str
    value: str
    negated: bool = False

    def __post_init__(self) -> None:
        if self.kind == "role" and self.value not in ROLES:
            raise UnknownNameError("role", self.value, ROLES)
        if not self.value:
            raise ConfigError(self.kind, "a text that is not empty", self.value)

    def matches(self, role: str, name: str, module: nn.Module) -> bool:
        if self.kind == "role":
            hit = self.value in ("everything", role)
        elif self.kind == "name":
            hit = fnmatch.fnmatchcase(name, self.value)
        else:
            hit = any(cls.__name__ == self.value for cls in type(module).__mro__)
        return hit != self.negated

    def __str__(self) -> str:
        value = self.value if self.kind == "role" else f"{self.kind}:{quoted(self.value, '&|')}"
        return ("~" if self.negated else "") + value


@dataclass(frozen=True)
class Where:
    """Which parameters, or which modules, a technique acts on, by role, name and type. Every ``on=`` takes one, or its
    text.

    The terms, as text:

    - ``weights``, ``biases``, ``norms``, ``embeddings``, ``scales``: parameters by role. ``weights`` are the matrices
      and kernels that decay and sparsity are meant for, ``norms`` all parameters of normalizations, ``scales``
      one-dimensional ones of unknown modules.
    - ``reparametrized``: parameters that a weight is computed from, such as direction and length under weight
      normalization. They are no ``weights``.
    - ``activations``, ``dropouts``, ``linears``, ``convolutions``, ``embeddings``: modules by kind. ``hidden``: the
      model's dropouts where it has any, else its activations, without one at the end of an ``nn.Sequential`` that is
      the network or its end. ``branches``: the last modules of residual branches: of torch's encoder and decoder
      layers, torchvision's and timm's blocks, and those with an attribute ``ends_branch = True``.
    - ``everything``: all parameters, or all modules without parts.
    - ``name:GLOB``: by the full dotted name, with ``*`` and ``?``.
    - ``type:CLASS``: by the class of the module (of the owning module, for parameters), base classes included.

    ``~`` in front of a term is "not"; ``&`` is "and" and binds tighter than ``|``, which is "or". There are no brackets
    in text; in Python the three work on whole expressions.

    Raises:
        ConfigError: an empty or unknown term, where text is read.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> decay = dashpot.WeightDecay(on="weights & ~name:2.*")
        >>> print(decay.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)).plan())
        WeightDecay(strength=0.01, on='weights & ~name:2.*')
        on Sequential (58 trainable values) with SGD
          before update weight-decay       shrinks weights by lr x strength: 1 tensors, 32 values (weights & ~name:2.*)
        >>> (dashpot.Where.role("weights") | dashpot.Where.role("embeddings")) & ~dashpot.Where.name("2.*")
        Where('weights & ~name:2.* | embeddings & ~name:2.*')
    """

    clauses: tuple[tuple[Term, ...], ...]

    @staticmethod
    def name(glob: str) -> Where:
        """By the full dotted name, with ``*`` and ``?``."""
        return Where(((Term("name", glob),),))

    @staticmethod
    def type(cls: type[nn.Module] | str) -> Where:
        """By the type of the module (of the owning module, for parameters), base classes included."""
        return Where(((Term("type", cls if isinstance(cls, str) else cls.__name__),),))

    @staticmethod
    def role(role: str) -> Where:
        """By the role; one of those above.

        Raises:
            UnknownNameError: there is none of that name; the nearest is suggested.
        """
        return Where(((Term("role", role),),))

    @staticmethod
    def parse(text: str) -> Where:
        """Read the text form.

        Raises:
            ConfigError: an empty or unknown term.
        """
        clauses = []
        for clause in split(text, "|"):
            terms = []
            for raw in split(clause, "&"):
                word = raw.strip()
                negated = word.startswith("~")
                word = word.removeprefix("~").strip()
                kind, colon, value = word.partition(":")
                if colon and kind in ("name", "type") and (value := unquoted(value.strip())):
                    terms.append(Term(kind, value, negated))
                elif word in ROLES:
                    terms.append(Term("role", word, negated))
                else:
                    near = difflib.get_close_matches(word, ROLES, n=1)
                    rule = f"name:GLOB, type:CLASS or one of {', '.join(ROLES)}"
                    raise ConfigError(f"term {word!r}", rule, text, f"Did you mean {near[0]!r}?" if near else "")
            clauses.append(tuple(terms))
        return Where(tuple(clauses))

    def matches(self, role: str, name: str, module: nn.Module) -> bool:
        return any(all(term.matches(role, name, module) for term in clause) for clause in self.clauses)

    def names_role(self, role: str) -> bool:
        """Whether the expression speaks of ``role``."""
        return any(term.kind == "role" and term.value == role for clause in self.clauses for term in clause)

    def names_parts(self) -> bool:
        """Whether it asks for something by name or type, which a model may turn out not to have."""
        return any(term.kind != "role" and not term.negated for clause in self.clauses for term in clause)

    def __or__(self, other: Where) -> Where:
        return Where(self.clauses + other.clauses)

    def __and__(self, other: Where) -> Where:
        return Where(tuple(left + right for left in self.clauses for right in other.clauses))

    def __invert__(self) -> Where:
        result = Where(((),))
        for clause in self.clauses:
            result &= Where(tuple((Term(term.kind, term.value, not term.negated),) for term in clause))
        return result

    def __str__(self) -> str:
        return " | ".join(" & ".join(map(str, clause)) for clause in self.clauses)

    def __repr__(self) -> str:
        return f"Where({str(self)!r})"


weights = Where.role("weights")
biases = Where.role("biases")
norms = Where.role("norms")
embeddings = Where.role("embeddings")
everything = Where.role("everything")
activations = Where.role("activations")
hidden = Where.role("hidden")
