"""``DashpotClassifier``, a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from dashpot.core.errors import DataError
from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique
from dashpot.core.weights import checked_weights
from dashpot.estimators.base import AUTO, NetworkEstimator, refuse_weights
from dashpot.estimators.inputs import present
from dashpot.evaluation.decision import Decision


class DashpotClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network for tables, images, signals or texts, trained with a recipe of regularizers.

    Tables get a multilayer perceptron. Images [n, h, w], [n, h, w, c] or [n, c, h, w], bytes or floats, with 1 or 3
    channels or fewer than there are pixels along each side, and signals [n, channels, steps] with fewer than 8 channels
    get a convolutional network (:class:`dashpot.nets.ConvNet`, :class:`dashpot.nets.ConvNet1d`), lists of strings one
    over words (:class:`dashpot.nets.TextConv`). Images are standardized inside the network, after all augmentation, so
    a recipe may hold any technique on images.

    Parameters
    ----------
    recipe : Recipe, Technique, str or list of these, default=None
        The techniques; text as on the command line, ``"l1:strength=1e-4"``. ``"auto"`` searches for them inside
        ``fit``, as :func:`dashpot.tune` does, by cross-validation within the rows given.
        Fields are parameters of their own, which a grid can vary: ``recipe__dropout__p``, ``recipe__l1__strength``.
    budget : str or float, default="5m"
        Time for the search: seconds, or text such as ``"90s"``. Only for ``recipe="auto"``, like the next three.
    trials : int or None, default=None
        Candidates of the search, at least 2, in place of the budget. Then the same ``random_state`` gives the same
        model on one machine.
    metric : str or None, default=None
        What the search's decision is fitted to: accuracy (None), balanced_accuracy, f1, f1_macro, log_loss, brier or
        roc_auc.
    cv : int or None, default=None
        Folds of the search; fewer where a class has fewer rows. None: 5, also where a class has fewer rows.
    width, depth : int or None, default=None
        Units per hidden layer, and hidden layers (0 is a linear model). None: 128 and 2, or what the search finds best.
        Of images and signals, channels behind the stem, and convolutions of a stage behind its first; None: 32 and 1.
    net : dict or None, default=None
        More of the network, as ``dashpot fit --net`` takes it: ``{"norm": "batch"}`` or ``{"embedding": "piecewise"}``
        for tables (the latter is :class:`dashpot.nets.TableNet`), ``{"se": True}`` or ``{"net": "resnet"}`` for images,
        ``{"kernel": 7}`` for signals. A search takes several values, ``{"activation": ("relu", "gelu")}``, of the
        options of ``dashpot tune --net``.
    epochs : int or None, default=None
        None: 100, or about 3,000 steps in a search. Of images about 1,000 steps, of signals about 1,500, of texts
        about 800, in 10 to 100 epochs.
    batch_size : int or "auto", default="auto"
        ``"auto"``: about a fiftieth of the rows; 64 images or signals.
    lr : float or None, default=None
        Learning rate of AdamW, with a cosine to zero; of images and signals with one cycle. None: 1e-3, of images and
        signals 6e-3, or what the search finds best.
    validation_fraction : float, default=0.2
        Share of the rows, stratified, that early stopping watches. Only held out if the recipe has
        :class:`~dashpot.EarlyStopping`; not for ``"auto"``.
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn: the weight of each class in the loss, and in the score that early stopping watches, times
        the row's ``sample_weight``. It says what errors cost, not how many rows there are, so columns are scaled as
        without it. A search takes none: its ``metric`` says what classes are worth.
    tta : "auto", str, Recipe, Technique, TTA or None, default="auto"
        Test-time augmentation, for images, as in :func:`dashpot.fit`: ``"flip"`` predicts by the mean over both mirror
        images. ``"auto"`` does so where a search has found a recipe that flips, and not otherwise; None never.
    pictures : "photo", "glyph" or None, default=None
        What images are, for the techniques that a search tries: ``"glyph"`` (digits, letters, drawings) is never
        flipped. None: found from the pixels.
    device : str, default="auto"
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False
    numeric, dates, categorical : list of str or None, default=None
        Columns of numbers, of dates and of names; by default what :func:`dashpot.data.tables.reading.decide` finds.
        Columns without a name are x0, x1, ...
    kind : "text" or None, default=None
        ``"text"``: columns are texts, also short ones, and numbers and names beside them are words of their row.
        None: lists and series of strings are texts, and so is a table whose columns all hold sentences.
    tokenizer : "words", "characters", callable or path, default="words"
        How texts are cut: at spaces and marks (single characters in scripts without spaces); into characters; by a
        function of a text that gives its tokens; or by a file of Hugging Face's ``tokenizers``.
    vectors : path, "random" or None, default=None
        Of texts, a file of vectors of words from which a convolutional network starts; it is then as wide as they are.
        ``"FILE:frozen=true"`` keeps them as they are. By default they are learned from the training texts;
        ``"random"``: the network starts without.
    encoder : path or None, default=None
        Of texts, a folder of a model of ``transformers`` with its tokenizer, over whose vectors a small network is
        trained, or that is trained further; :func:`dashpot.texts.encoder.encoder_of` says what may be given.
    monotone : dict or None, default=None
        Of a table, from numeric columns to 1 (the prediction never falls as the column rises) or -1 (it never rises),
        as ``monotonic_cst`` of scikit-learn; of two classes, and only two, the probability of the second one. It holds
        by the construction of the network (:class:`dashpot.nets.MonotoneNet`), after a search, too.
    log : str, Tracker, list of these or None, default=None
        Trackers that are told each epoch, or of a search its candidates, as in :func:`dashpot.fit`. Each ``fit`` is a
        run, also those of a cross-validation.

    Attributes
    ----------
    classes_ : ndarray
    model_ : torch.nn.Module
        The trained network, without hooks, on the CPU; of a search, the ensemble of its finalists.
    preprocessing_ : Preprocessing, ImagePreprocessing, SignalPreprocessing or TextPreprocessing
        How columns became features: standardized numbers, one-hot levels, indicators of missing values; of images size,
        mean and scale.
    history_ : list of dict
        Scores by epoch.
    plan_ : str
        Which technique acted where; of a search, what was chosen and why.
    recipe_ : Recipe
        As given, or found.
    decision_ : Decision
        From the network's outputs to calibrated probabilities, and from those to a class; without a search, softmax and
        the most probable class.
    report_ : dict or None
        The record of the search: every candidate with its scores, as plain JSON.
    tta_ : TTA or None
        The test-time augmentation of predictions.
    n_features_in_, feature_names_in_, n_iter_
        Of images and signals, ``n_features_in_`` is how many numbers one has.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from dashpot import DashpotClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DashpotClassifier("weight-decay:strength=0.01", epochs=60, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True

    Images, with a technique for them:

    >>> from sklearn.datasets import load_digits
    >>> images, digit = load_digits(return_X_y=True)
    >>> images = images[:300].reshape(-1, 8, 8)
    >>> model = DashpotClassifier("translation:fraction=0.1", width=8, epochs=10, random_state=0)
    >>> bool(model.fit(images, digit[:300]).score(images, digit[:300]) > 0.8)
    True

    Texts:

    >>> texts = ["what a lovely day", "a dull and rainy day"] * 20
    >>> model = DashpotClassifier(epochs=10, random_state=0).fit(texts, ["good", "bad"] * 20)
    >>> model.predict(["lovely", "rainy"]).tolist()
    ['good', 'bad']
    """

    def __init__(
        self,
        recipe: Recipe | Technique | str | Iterable[Technique | str] | None = None,
        *,
        budget: str | float | None = "5m",
        trials: int | None = None,
        metric: str | None = None,
        cv: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        net: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        batch_size: int | str = "auto",
        lr: float | None = None,
        validation_fraction: float = 0.2,
        class_weight: Mapping[Any, float] | str | None = None,
        tta: Any = "auto",
        pictures: str | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
        numeric: Iterable[str] | None = None,
        dates: Iterable[str] | None = None,
        categorical: Iterable[str] | None = None,
        kind: str | None = None,
        tokenizer: Any = "words",
        vectors: Any = None,
        encoder: Any = None,
        monotone: Mapping[str, int] | None = None,
        log: Any = None,
    ) -> None:
        super().__init__(
            recipe,
            budget=budget,
            trials=trials,
            metric=metric,
            cv=cv,
            width=width,
            depth=depth,
            net=net,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            validation_fraction=validation_fraction,
            tta=tta,
            pictures=pictures,
            device=device,
            random_state=random_state,
            verbose=verbose,
            numeric=numeric,
            dates=dates,
            categorical=categorical,
            kind=kind,
            tokenizer=tokenizer,
            vectors=vectors,
            encoder=encoder,
            monotone=monotone,
            log=log,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on ``X``, a table (NumPy, SciPy sparse, pandas, polars), images or signals (arrays or tensors), or
        texts (lists, arrays, series, columns), and class labels ``y``.

        ``sample_weight`` [rows]: a row of weight 0 is absent, its class too; one of weight 2 counts as two in the loss,
        the scaling of columns and the score that early stopping watches. Mini-batches hold single rows.

        Raises
        ------
        ValueError
            As scikit-learn's own classifiers, and :class:`dashpot.DataError` for infinity in a column, or images of
            another shape.
        """
        inputs = self._inputs(X, reset=True)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        inputs, y, weight = present(inputs, y, sample_weight)
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise DataError(
                f"y must be one class for each row, got {list(np.shape(y))}. For several labels wrap it in"
                " scikit-learn's MultiOutputClassifier,"
                ' or train a network with dashpot.fit(..., targets="multilabel").'
            )
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 classes, got 1 class: {self.classes_[0]!r}.")
        if self.recipe == AUTO:
            refuse_weights("class_weight", self.class_weight)
            self._tune(inputs, codes.astype(np.int64), "classification", weight)
            return self
        of_classes = None
        if self.class_weight is not None:
            every = compute_class_weight(self.class_weight, classes=self.classes_, y=labels, sample_weight=weight)
            checked_weights("class_weight", every, len(every))
            of_classes = every[codes]
        return self._fit(inputs, codes.astype(np.int64), weight, len(self.classes_), codes, of_classes)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [rows, classes], in the order of ``classes_``; of a search, calibrated."""
        return self._decision().probabilities(self._outputs(X, "classes").double().numpy())

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities."""
        out = self._outputs(X, "classes").double()
        result: np.ndarray = (out / self._decision().temperature).log_softmax(dim=1).numpy()
        return result

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row; of a search, the class by the decision that was fitted to ``metric``."""
        codes = self._decision().decide(self.predict_proba(X))
        labels: np.ndarray = self.classes_[codes]
        return labels

    def _decision(self) -> Decision:
        check_is_fitted(self, "model_")
        return self.decision_ or Decision()
