"""Losses, metrics, calibration, decision rules, cross-validation and intervals."""
