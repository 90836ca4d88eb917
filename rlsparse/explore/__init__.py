"""Probing the neighbourhood of a policy's parameters: anything that maps anchors to candidates."""
