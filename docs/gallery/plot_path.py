"""
A path of L1
============

One linear model at every strength, from where all weights are zero to where none is, each scored by cross-validation on
scikit-learn's breast-cancer table.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_breast_cancer

import dashpot

data = load_breast_cancer()
X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
result = dashpot.path(lambda: torch.nn.Linear(30, 2), (X.astype("float32"), data.target), dashpot.L1(), points=15)

# %%
# The dashed line is the strongest penalty whose score is within one standard error of the best: the fewest columns that
# cost nothing that can be told.

fig, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
top.plot(result.strengths, result.score, marker="o", markersize=3)
top.set_ylabel("accuracy over folds")
bottom.plot(result.strengths, result.selected, marker="o", markersize=3, color="tab:orange")
bottom.set_ylabel("columns in use")
bottom.set_xlabel("strength")
bottom.set_xscale("log")
for ax in (top, bottom):
    ax.axvline(result.strengths[result.one_se], color="black", linestyle="--", linewidth=1)
plt.show()

# %%

print(f"{result.selected[result.one_se]} of 30 columns, accuracy {result.score[result.one_se]:.3f}")
