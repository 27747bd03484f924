"""
How unsure is the network?
==========================

Dropout that stays on while predicting gives many answers, and their spread says how much the sub-networks differ. Far
from all data it hardly grows here, though the mean is wrong: it is no alarm for inputs unlike the training rows.
"""

import matplotlib.pyplot as plt
import torch

import dashpot

torch.manual_seed(0)
x = torch.cat([torch.rand(60, 1) * 2 - 3, torch.rand(60, 1) * 2 + 1])
y = torch.sin(2 * x) + 0.1 * torch.randn_like(x)
layers = [torch.nn.Linear(1, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()]
model = torch.nn.Sequential(*layers, torch.nn.Linear(128, 1))
dashpot.fit(model, (x, y), recipe="dropout:p=0.1", epochs=300, batch_size=120, lr=5e-3, seed=0, progress=False)

# %%
# 100 passes with other masks, at places with data and without.

places = torch.linspace(-4.5, 4.5, 200)[:, None]
answer = dashpot.mc_predict(model, places, samples=100, recipe="dropout:p=0.1", targets="values", seed=0)
mean, std = answer.mean[:, 0], answer.std[:, 0]

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for width in (2, 1):
    ax.fill_between(places[:, 0], mean - width * std, mean + width * std, color="tab:blue", alpha=0.2, linewidth=0)
ax.plot(places[:, 0], mean, color="tab:blue", label="mean of 100 passes, 1 and 2 standard deviations")
ax.plot(places[:, 0], torch.sin(2 * places[:, 0]), color="black", linestyle="--", linewidth=1, label="truth")
ax.scatter(x, y, s=8, color="tab:orange", label="training rows")
ax.set_ylim(-3, 3)
ax.legend(loc="upper center", ncols=3, fontsize=8)
plt.show()
