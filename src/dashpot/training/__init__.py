"""The training loop, with its batches, checkpoints and progress."""
