"""Other people's training loops as drivers of a session: each module needs its framework only, and adds no maths."""
