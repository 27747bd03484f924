"""The record and the curves of one training."""
