"""
Augmentations of photographs
============================

Each row is one technique, each column one draw. The strengths are large, so that one sees what they do.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_sample_image

import dashpot

photo = torch.tensor(load_sample_image("flower.jpg")[::4, ::4]).permute(2, 0, 1)
draws = 6
batch = photo.expand(draws, -1, -1, -1).clone()
techniques = ["horizontal-flip", "random-resized-crop", "rotation:degrees=30", "hue:degrees=60", "elastic", "cutout"]

# %%
# ``session.batch`` is what a training loop calls; every sample has draws of its own.

fig, axes = plt.subplots(len(techniques), draws, figsize=(9, 6.6), layout="constrained")
for row, text in zip(axes, techniques, strict=True):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dashpot.Recipe.coerce(text).attach(model, optimizer, seed=1, modality="image") as session:
        images = session.batch(batch, torch.zeros(draws)).x
    for ax, image in zip(row, images, strict=True):
        ax.imshow(image.clamp(0, 1).permute(1, 2, 0))
        ax.set_axis_off()
    row[0].set_title(text, loc="left", fontsize=9)
plt.show()

# %%
# The photograph is flower.jpg by dany13, CC BY 2.0, one of scikit-learn's sample images.
