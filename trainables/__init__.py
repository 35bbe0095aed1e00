"""One trial, with no tuner in it: data, network, fine-tuning, evaluation, scores."""
