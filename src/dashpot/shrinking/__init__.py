"""Exact zeros become a smaller network with the same outputs."""
