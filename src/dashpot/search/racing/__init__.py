"""How candidates are trained side by side, and which are pruned."""
