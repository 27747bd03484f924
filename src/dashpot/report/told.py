"""What records say in English, for pages and tables in other languages: words, and sentences with their places.

Records are the same in every language, so that any page can be made from them.
"""

from __future__ import annotations

from dashpot.core.language import mark

TOLD = (
    # Why a training ended.
    mark("all epochs done"),
    mark("the time is up"),
    mark("{monitor} has not improved for {waited} epochs; best {best} at epoch {epoch}"),
    # Why a candidate was chosen.
    mark("it has the lowest mean score"),
    mark("the simplest within one standard error of the best (candidate {best}): 1 technique instead of {many}"),
    mark("the simplest within one standard error of the best (candidate {best}): {few} techniques instead of {many}"),
    # What the final model is.
    mark("one network"),
    mark("one network, refit on all {rows} rows but the test part"),
    mark("ensemble of {n} networks (1 candidate on {folds} folds)"),
    mark("ensemble of {n} networks (1 candidate with {seeds} seeds in all, on {folds} folds)"),
    mark("ensemble of {n} networks ({many} candidates on {folds} folds)"),
    mark("ensemble of {n} networks ({many} candidates with {seeds} seeds in all, on {folds} folds)"),
    mark("ensemble of {n} networks ({what})"),
    # How classes are decided.
    mark("the most probable class, for accuracy"),
    mark("the most probable class, for {metric}"),
    mark("the most probable class: no class is rarer than another"),
    mark("tau {tau} scores best"),
    mark("tau {tau} is within one standard error of the best, {best}"),
)
"""The first that fits counts; what fits none stays as it is."""

WORDS = (
    # Scores.
    *(mark("accuracy"), mark("balanced accuracy"), mark("macro F1"), mark("log loss"), mark("brier")),
    # Gaps between parts of the data.
    *(mark("train minus valid"), mark("train minus test")),
    # Reference models.
    *(mark("logistic regression, L2"), mark("logistic regression, L1"), mark("histogram gradient boosting")),
    *(mark("ridge regression"), mark("lasso")),
    *(mark("linear SVM, words alone"), mark("ridge regression, words alone")),
    # Data and environment.
    *(mark("name"), mark("dataset"), mark("task"), mark("features"), mark("classes"), mark("folds"), mark("seed")),
    *(mark("train rows"), mark("test rows"), mark("splits"), mark("epochs"), mark("draws"), mark("network")),
    *(mark("fingerprint"), mark("source"), mark("target"), mark("technique")),
    *(mark("processor"), mark("cores"), mark("threads"), mark("accelerator"), mark("system"), mark("kernels")),
    # How inputs get worse, and by what.
    *(mark("noise"), mark("shift"), mark("scale"), mark("missing values"), mark("missing columns"), mark("blur")),
    *(mark("brightness"), mark("contrast"), mark("rotation"), mark("erasing"), mark("shift in time")),
    *(mark("amplitude"), mark("lost steps"), mark("typing errors"), mark("neighbouring keys"), mark("deleted words")),
    mark("standard deviations of each column"),
    mark("standard deviations, up or down by column"),
    mark("log of the factor about the mean, up or down by column"),
    mark("share of the values"),
    mark("share of the columns, at least one"),
    mark("standard deviation, of the pixel range"),
    mark("standard deviation in pixels"),
    mark("factor"),
    mark("degrees, either way"),
    mark("share of the area"),
    mark("standard deviations of each channel"),
    mark("share of the steps, either way, around the end"),
    mark("log of the factor, up or down"),
    mark("share of the steps, in one piece"),
    mark("share of the words"),
)
