"""What the round map says of a population: stability, the largest learning rate, modes, who counts."""
