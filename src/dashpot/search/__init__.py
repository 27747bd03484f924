"""Which combination, and how strong: the space, the race, the store, and the contribution of each technique."""
