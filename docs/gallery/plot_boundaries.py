"""
What regularization does to a decision boundary
===============================================

Two classes of two features, 60 noisy rows, and a network that is far too large. Each panel is the same network with one
technique. Darker is surer.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_moons

import dashpot

rows, classes = make_moons(60, noise=0.3, random_state=3)
x, y = torch.tensor(rows, dtype=torch.float32), torch.tensor(classes)
new_rows, new_classes = make_moons(2000, noise=0.3, random_state=4)
new_x, new_y = torch.tensor(new_rows, dtype=torch.float32), torch.tensor(new_classes)

recipes = {
    "none": None,
    "weight decay": "weight-decay:strength=1",
    "L1, exact zeros": "l1:strength=0.003",
    "dropout": "dropout:p=0.3",
    "Mixup": "mixup:alpha=1",
    "input noise": "input-noise:std=0.3",
}


def trained(recipe: str | None) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(128, 2))
    dashpot.fit(model, (x, y), recipe=recipe, epochs=300, batch_size=60, lr=5e-3, seed=0, progress=False)
    return model.eval()


# %%
# Accuracy is that of 2,000 new rows. One small set proves nothing about techniques; it shows what each of them does.

sides = [torch.linspace(-2, 3, 120), torch.linspace(-1.5, 2, 120)]
grid = torch.cartesian_prod(*sides)
fig, axes = plt.subplots(2, 3, figsize=(9, 5.6), sharex=True, sharey=True, layout="constrained")
for ax, (name, recipe) in zip(axes.flat, recipes.items(), strict=True):
    model = trained(recipe)
    with torch.no_grad():
        surface = model(grid).softmax(1)[:, 1].view(120, 120).T
        right = (model(new_x).argmax(1) == new_y).float().mean()
    ax.contourf(*sides, surface, levels=20, cmap="RdBu_r", vmin=0, vmax=1)
    ax.contour(*sides, surface, levels=[0.5], colors="black", linewidths=1)
    ax.scatter(*x.T, c=y, cmap="RdBu_r", edgecolors="black", s=18)
    ax.set_title(f"{name}: {right:.1%} right")
plt.show()
