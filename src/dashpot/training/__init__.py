"""What the training loop stands on: batches, checkpoints, progress."""
