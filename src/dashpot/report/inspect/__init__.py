"""A look at the weights of a model: the record and the figure."""
