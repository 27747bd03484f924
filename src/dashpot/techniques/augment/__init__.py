"""Input augmentation and mixing."""
