"""Networks before and after they became smaller: the record and the figure."""
