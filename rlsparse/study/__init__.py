"""Studies: many agents, environments, settings and seeds, as many ordinary runs."""
