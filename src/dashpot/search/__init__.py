"""The search of a recipe: space, racing, storage, and the contribution of each technique."""
