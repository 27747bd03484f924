"""Data: reading, splitting and preparing tables and images."""

from dashpot.data.load import load_problem
from dashpot.data.new_rows import load_rows
from dashpot.data.pictures.images import ImagePreprocessing
from dashpot.data.problem import Prepared, Problem, Target
from dashpot.data.splitting import Split
from dashpot.data.tables.columnar import DataWarning
from dashpot.data.tables.preprocessing import Layout, Preprocessing
from dashpot.data.texts.column import TextColumn

__all__ = [
    "DataWarning",
    "ImagePreprocessing",
    "Layout",
    "Prepared",
    "Preprocessing",
    "Problem",
    "Split",
    "Target",
    "TextColumn",
    "load_problem",
    "load_rows",
]
