"""What can be said of the trials: populations, slopes, answers, and the sentences of them."""
