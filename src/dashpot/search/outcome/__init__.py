"""The end of a search: choice, ensemble, ablation, record and result."""
