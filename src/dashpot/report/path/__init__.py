"""The figure of a regularization path."""
