"""From logs to a comparison: who is compared with whom, whether that is fair, and what comes out."""
