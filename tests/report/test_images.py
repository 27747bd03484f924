"""Figures of a model's answers on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from dashpot.evaluation.decision import Decision
from dashpot.report.images.cases import CASES, Judged
from dashpot.report.images.confusion import LISTED, draw_confusion
from dashpot.report.images.figures import image_figures
from dashpot.report.images.mistakes import as_shown, draw_mistakes


def judged(n: int = 60, classes: int = 3, channels: int = 1, size: int = 8, *, right: bool = False) -> Judged:
    rng = np.random.default_rng(classes + size)
    truth = rng.integers(0, classes, n)
    out = rng.normal(size=(n, classes))
    out[np.arange(n), truth] += 50 if right else 0
    pixels = rng.integers(0, 256, (n, channels, size, size)).astype(np.uint8)
    names = [f"class {k}" for k in range(classes)]
    return Judged.of(pixels, truth, out, np.arange(100, 100 + n), classes=names)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_confusion_matrix_is_scikit_learns() -> None:
    one = judged()
    weight = np.random.default_rng(0).random(60)
    weighted = Judged(one.pixels, one.truth, one.predicted, one.probabilities, one.classes, one.rows, weight)
    assert np.array_equal(one.confusion, confusion_matrix(one.truth, one.predicted))
    assert np.allclose(weighted.confusion, confusion_matrix(one.truth, one.predicted, sample_weight=weight))


def test_mistakes_are_the_wrong_ones_with_the_surest_first() -> None:
    one = judged()
    assert one.probabilities is not None
    sure = one.probabilities.max(axis=1)
    expected = sorted((i for i in range(60) if one.truth[i] != one.predicted[i]), key=lambda i: -sure[i])
    assert one.wrong.tolist() == expected
    first = one.to_dict()["mistakes"][0]
    assert first["row"] == 100 + expected[0]
    assert first["truth"] == f"class {one.truth[expected[0]]}"
    assert first["probability"] == pytest.approx(sure[expected[0]])


def test_a_decision_says_what_was_predicted_and_its_probability() -> None:
    out, truth = np.log([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 0])
    one = Judged.of(
        np.zeros((2, 1, 8, 8), np.uint8),
        truth,
        out,
        np.arange(2),
        decision=Decision(offsets=(0.0, 0.5)),
        classes=("a", "b"),
    )
    assert one.predicted.tolist() == [0, 1]  # 0.4 exp(0.5) = 0.66 > 0.6 and 0.3 exp(0.5) = 0.49 < 0.7
    assert one.to_dict()["mistakes"] == [{"row": 1, "truth": "a", "predicted": "b", "probability": pytest.approx(0.4)}]


def test_of_values_the_largest_errors_in_their_own_units() -> None:
    pixels, truth = np.zeros((3, 1, 8, 8), np.uint8), np.array([0.0, 1.0, 2.0])
    one = Judged.of(pixels, truth, np.array([[0.5], [1.0], [-1.0]]), np.arange(3), scale=10.0, mean=100.0)
    assert one.to_dict() == {
        "mistakes": [
            {"row": 2, "truth": 120.0, "predicted": 90.0},
            {"row": 0, "truth": 100.0, "predicted": 105.0},
            {"row": 1, "truth": 110.0, "predicted": 110.0},
        ],
        "pairs": [[100.0, 105.0], [110.0, 110.0], [120.0, 90.0]],
    }
    assert any("said 105" in text for text in texts(draw_mistakes(one, "x")))


def test_of_several_targets_each_error_counts_in_the_spread_of_its_own() -> None:
    """The second target is a hundred times as large: its errors must not hide those of the first."""
    pixels, truth = np.zeros((3, 1, 8, 8), np.uint8), np.array([[0.0, 100.0], [1.0, 300.0], [2.0, 200.0]])
    said = truth + np.array([[0.0, 50.0], [1.0, 0.0], [0.0, 0.0]])
    one = Judged.of(pixels, truth, said, np.array([5, 6, 7]))
    # Deviations of .816 and 81.6: errors of 1.22 and .61 of them.
    assert [case["row"] for case in one.to_dict()["mistakes"]] == [6, 5, 7]
    assert one.to_dict()["mistakes"][0] == {"row": 6, "truth": [1.0, 300.0], "predicted": [2.0, 300.0]}
    assert one.to_dict()["targets"] == [
        [[0.0, 0.0], [1.0, 2.0], [2.0, 2.0]],
        [[100.0, 150.0], [300.0, 300.0], [200.0, 200.0]],
    ]
    assert "pairs" not in one.to_dict()
    assert any("said 2.0000, 300" in text for text in texts(draw_mistakes(one, "x")))


def test_calibration_is_right_answers_by_how_sure_the_model_was() -> None:
    """Against scikit-learn's curve of equally many rows a bin, of the answer's own probability."""
    one = judged(100)
    assert one.probabilities is not None
    sure, right = one.probabilities.max(axis=1), one.probabilities.argmax(axis=1) == one.truth
    shares, means = calibration_curve(right, sure, n_bins=10, strategy="quantile")
    found = np.array(one.calibration())
    assert np.allclose(found[:, 0], means)
    assert np.allclose(found[:, 1], shares)
    assert found[:, 2].tolist() == [10.0] * 10
    double = Judged(one.pixels, one.truth, one.predicted, one.probabilities, one.classes, one.rows, np.full(100, 2.0))
    assert np.allclose(np.array(double.calibration()), found * [1, 1, 2])


def test_of_very_many_classes_the_confusions_are_listed() -> None:
    truth, said = np.array([0, 0, 0, 250, 7]), np.array([1, 1, 0, 3, 7])
    p = np.eye(300)[said]
    one = Judged(np.zeros((5, 1, 8, 8)), truth, said, p, [f"c{i}" for i in range(300)], np.arange(5))
    found = one.to_dict()
    assert "confusion" not in found
    assert found["confusions"] == [("c0", "c1", 2), ("c250", "c3", 1)]


@pytest.mark.parametrize("classes", [2, 12, 30, 100])
def test_a_confusion_matrix_has_numbers_where_they_can_be_read_and_names_its_commonest_confusions(
    classes: int,
) -> None:
    one = judged(400, classes)
    figure = draw_confusion(one.confusion, one.classes, "title")
    found = texts(figure)
    counts = [f"{c:.0f}" for c in one.confusion[one.confusion > 0]]
    if classes <= 20:
        assert not set(counts) - set(found)
    arrows = [text for text in found if "→" in text]
    off = one.confusion - np.diag(np.diag(one.confusion))
    assert len(arrows) == min(LISTED, int((off > 0).sum()))
    i, j = divmod(int(off.argmax()), classes)
    assert off[i, j] == max(off[i, j], off.max())
    assert f"class {i} → class {j}" == arrows[0]


def test_a_class_without_test_images_and_no_mistake_are_drawn() -> None:
    figure = draw_confusion(np.diag([3.0, 0.0]), ["a", "b"], "title")
    assert "No image was taken for another" in texts(figure)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (3, 224), (4, 16)])
def test_mistakes_show_the_pixels_as_they_are(channels: int, size: int) -> None:
    one = judged(40, 2, channels, size)
    figure = draw_mistakes(one, "title")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(CASES, len(one.wrong))
    first = one.pixels[one.wrong[0]].astype(float) / 255
    drawn = np.asarray(shown[0].images[0].get_array())
    expected = np.moveaxis(first, 0, -1) if channels == 3 else first[0]
    assert np.allclose(drawn, expected)
    assert shown[0].texts[0].get_text() == f"is class {one.truth[one.wrong[0]]}"


def test_floats_are_cut_to_what_can_be_shown() -> None:
    assert as_shown(np.array([[[-1.0, 0.25, 3.0]]])).tolist() == [[0.0, 0.25, 1.0]]


def test_where_nothing_is_wrong_the_least_certain_are_shown(tmp_path: Path) -> None:
    one = judged(30, right=True)
    assert not len(one.wrong)
    assert one.to_dict()["mistakes"] == []
    found = image_figures(one, tmp_path, "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "confusion.png",
        "confusion.svg",
        "mistakes.png",
        "mistakes.svg",
    ]
    assert list(found) == ["confusion", "mistakes"]
