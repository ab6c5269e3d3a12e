"""From what the caller passed to a problem."""
