"""Regularization paths, selected features, and inspection of sparse weights."""
