"""Sparse networks: which weights exist, and how that changes while they learn."""
