"""Compare runs: read curves, arrange them into arms, test, draw, report."""
