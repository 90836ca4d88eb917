"""A comparison as tables, pictures and files."""
