"""Data: reading, splitting and preparing tables and images."""

from dashpot.data.images import ImagePreprocessing
from dashpot.data.load import load_problem, load_rows
from dashpot.data.preprocessing import DataWarning, Preprocessing
from dashpot.data.problem import Prepared, Problem, Split, Target

__all__ = ["DataWarning", "ImagePreprocessing", "Prepared", "Preprocessing", "Problem", "Split", "Target", "load_problem", "load_rows"]
