"""What hyper-parameters may be, and how recipes are written: domains, schedules, selections, text."""
