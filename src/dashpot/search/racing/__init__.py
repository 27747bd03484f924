"""Candidates trained side by side, with pruning."""
