"""A recipe in training: the session, and what techniques get at each point of a step."""
