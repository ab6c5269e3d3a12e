"""Everything that depends on the array library and that the standard has no word for."""
