"""
A smaller network with the same outputs
=======================================

``ChannelLasso`` makes all weights that belong to a hidden unit zero together; ``shrink`` takes such units out.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import dashpot

data = load_digits()
x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
train, test = (x[:1300], y[:1300]), (x[1300:], y[1300:])


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(128, 10))


strengths = [0.0, 4e-4, 8e-4, 1e-3, 1.2e-3]
parameters, scores, widths = [], [], []
for strength in strengths:
    model = network()
    dashpot.fit(model, train, recipe=dashpot.ChannelLasso(strength), epochs=25, lr=5e-3, seed=0, progress=False)
    model.eval()
    small = dashpot.shrink(model, train[0][:2])
    assert torch.allclose(small.model(test[0]), model(test[0]), atol=1e-4)
    parameters.append(small.after.parameters)
    widths.append(f"{small.model[0].out_features}, {small.model[2].out_features}")
    scores.append(float((small.model(test[0]).argmax(1) == test[1]).float().mean()))

# %%
# Numbers beside the points are the units that are left of 128 in each hidden layer.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
ax.plot(parameters, scores, marker="o")
for place, score, width in zip(parameters, scores, widths, strict=True):
    ax.annotate(width, (place, score), textcoords="offset points", xytext=(0, 9), ha="center", fontsize=8)
ax.set_xlabel("parameters after shrinking")
ax.set_ylabel("test accuracy")
ax.margins(y=0.2)
plt.show()
