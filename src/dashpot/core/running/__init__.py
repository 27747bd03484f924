"""A recipe at work: the session, and what it hands to techniques at each point of a step."""
