"""From pixels to a trained network: the one loop, the dense network, its accuracy."""
