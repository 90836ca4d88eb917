"""What a finished run is good for: play it, export it, look around it."""
