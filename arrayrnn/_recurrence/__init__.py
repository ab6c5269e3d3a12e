"""What a recurrence is: the same for every loop and every library."""
