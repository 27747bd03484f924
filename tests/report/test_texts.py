"""Words of classes by hand-made weights, and texts that would break a table."""

from __future__ import annotations

import numpy as np

from dashpot.report.texts.words import as_shown, mistakes_table, words_table, words_that_count

NAMES = ["<nothing>", "<unknown>", "<edge>", "good", "bad", "#goo", "very good"]
WEIGHT = np.array([[9.0, 0, 0], [0, 0, 0], [0, 1, 0], [3, 0, 0], [0, 3, 3], [8, 0, 0], [6, 0, 0]])


def test_words_are_those_above_the_other_classes_and_pieces_are_left_out() -> None:
    found = words_that_count(WEIGHT, NAMES, ["a", "b", "c"])
    assert found["a"] == [("very good", 4.0), ("good", 2.0)]
    assert [word for word, _ in found["b"]] == ["bad", "<edge>"]
    assert [word for word, _ in found["c"]] == ["bad"]
    assert words_that_count(WEIGHT, NAMES, ["a", "b", "c"], most=1)["a"] == [("very good", 4.0)]
    assert words_table(found).splitlines() == ["a  very good, good", "b  bad, <edge>", "c  bad"]


def test_of_values_words_raise_or_lower_them() -> None:
    found = words_that_count(np.array([[0.0], [0], [0], [2], [-3], [9], [1]]), NAMES, [])
    assert found == {"higher": [("good", 2.0), ("very good", 1.0)], "lower": [("bad", 3.0)]}
    assert words_table({"higher": []}) == "higher  none"


def test_texts_stay_in_one_line_and_run_no_codes() -> None:
    assert as_shown("a\tb\r\n\x00\u202e") == "a\\tb\\r\\n\\x00\\u202e"
    assert as_shown("x" * 500) == "x" * 160 + "…"
    assert as_shown("我很好 🙂") == "我很好 🙂"
    cases = [
        {"row": 3, "truth": "ham", "predicted": "spam", "probability": 0.987, "text": "call\nme"},
        {"row": 4, "truth": 1.0, "predicted": 2.5, "text": "long"},
    ]
    assert mistakes_table(cases).splitlines() == [
        "row 3: ham taken for spam 0.987: call\\nme",
        "row 4: 1 taken for 2.5: long",
    ]
