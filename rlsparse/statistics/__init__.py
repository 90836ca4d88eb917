"""Statistics over seeds, as pure functions: aggregates, significance, and what a curve comes to."""
