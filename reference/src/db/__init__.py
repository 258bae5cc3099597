"""The names that Pigmeu's documented commands use."""
