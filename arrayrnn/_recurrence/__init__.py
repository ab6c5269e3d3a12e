"""Parts of a recurrence, the same for every loop and every library."""
