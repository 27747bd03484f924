"""
L1 that gives exact zeros
=========================

L1 added to the loss, as tutorials do, makes weights small and never zero: the optimizer steps over it. Dashpot's L1
applies its proximal map behind each step. The same network, data, steps and strength, both ways.
"""

import matplotlib.pyplot as plt
import torch

import dashpot

torch.manual_seed(0)
x = torch.randn(512, 40)
y = x[:, 0] - 2 * x[:, 1] + (x[:, 2] * x[:, 3]).tanh()


def network() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(40, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))


def train(model: torch.nn.Module, recipe: dashpot.Recipe, in_loss: float = 0.0) -> torch.Tensor:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with recipe.attach(model, optimizer):
        for _ in range(600):
            optimizer.zero_grad()
            loss = ((model(x)[:, 0] - y) ** 2).mean()
            loss = loss + in_loss * sum(layer.weight.abs().sum() for layer in (model[0], model[2]))
            loss.backward()
            optimizer.step()
    return model[0].weight.detach()


strength = 3e-3
weights = {
    "in the loss": train(network(), dashpot.Recipe(), in_loss=strength),
    "dashpot.L1": train(network(), dashpot.Recipe((dashpot.L1(strength),))),
}

# %%
# How large are the weights of the first layer? Zeros have a bin of their own at the left.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, (name, w) in zip(axes, weights.items(), strict=True):
    size = w.abs().flatten()
    zero = int((size == 0).sum())
    ax.hist(size[size > 0].log10(), bins=40, range=(-7, 0.5), color="tab:blue")
    ax.bar(-7.6, zero, width=0.4, color="tab:orange")
    ax.set_title(f"{name}: {zero} of {size.numel()} exactly zero")
    ax.set_xlabel("log10 of the absolute weight")
    ax.set_xticks([-7.6, -6, -4, -2, 0], ["0", "-6", "-4", "-2", "0"])
axes[0].set_ylabel("weights")
plt.show()
