"""How techniques act on a stack of members."""
