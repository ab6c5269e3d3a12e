"""Every error and its wording."""
