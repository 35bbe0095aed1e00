"""Layer-wise relevance propagation: what a decision rested on."""
