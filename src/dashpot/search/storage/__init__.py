"""The study: storage of trials, and heartbeats of workers."""
