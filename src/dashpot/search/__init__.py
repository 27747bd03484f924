"""Which combination, and how strong: the space, the race, the store, and what each ingredient earned."""
