"""A run and its description: recipe, cards, directory, checkpoints, reporters."""
