"""Strings by number: what a batch of texts is made of, once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


class Strings:
    """Strings and their numbers, both ways, and what is known of them.

    Example:
        >>> strings = Strings()
        >>> numbers = strings.numbers(["to", "be", "to"])
        >>> numbers.tolist(), strings.of(numbers)
        ([0, 1, 0], ['to', 'be', 'to'])
        >>> strings.ask(len, numbers).tolist()
        [2, 2, 2]
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._strings = np.empty(1024, dtype=object)
        self._answers: dict[Callable[[str], int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._known)

    def numbers(self, strings: Sequence[str]) -> np.ndarray:
        """The number of each, int32; new ones get the next."""
        known = self._known
        try:
            found = [known[one] for one in strings]
        except KeyError:
            for one in strings:
                if one not in known:
                    self._add(one)
            found = [known[one] for one in strings]
        return np.array(found, dtype=np.int32)

    def of(self, numbers: np.ndarray) -> list[str]:
        """The strings with these numbers."""
        found: list[str] = self._strings[numbers].tolist()
        return found

    def ask(self, question: Callable[[str], int], numbers: np.ndarray) -> np.ndarray:
        """What a function, which is asked once for each string, says of those with these numbers.

        Args:
            question: gives a whole number >= 0 below 2^31, or a bool.
        """
        answers = self._answers.setdefault(question, np.empty(0, dtype=np.int32))
        if len(answers) < len(self._strings):
            more = np.full(len(self._strings) - len(answers), -1, dtype=np.int32)
            answers = self._answers[question] = np.concatenate([answers, more])
        found: np.ndarray = answers[numbers]
        if len(found) and found.min() < 0:
            missing = np.unique(numbers[found < 0])
            answers[missing] = [question(one) for one in self.of(missing)]
            found = answers[numbers]
        return found

    def clear(self) -> None:
        """Forget all."""
        self.__init__()  # type: ignore[misc]  # it is as new

    def _add(self, string: str) -> None:
        number = len(self._known)
        if number == len(self._strings):
            self._strings = np.concatenate([self._strings, np.empty(number, dtype=object)])
        self._strings[number] = string
        self._known[string] = number
