"""S members that learn on one array: parameters, network, normaliser, optimiser, random streams."""
