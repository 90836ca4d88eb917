"""Files of a trained policy that run without this library."""
