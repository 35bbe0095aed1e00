"""Names of the files that a finished trial leaves behind: artifacts of its run in MLflow."""

CHECKPOINT = "checkpoint.pt"  # a plain state_dict of the whole network, pruned weights zero
COMPACTED = "compacted.pt"  # the network without what was removed: networks.load_compacted
MASKS = "keep.pt"  # parameter name -> bool, True = kept
UNITS = "units.parquet"  # one row per unit
SHOWN = "shown.parquet"  # one row per unit: the images that activate it most, and least
UNITS_BY_ROUND = "units_by_round"  # a table of units per round, of trials scored after every one
EPOCHS = "epochs.parquet"  # one row per epoch
LAYERS = "layers.parquet"  # one row per layer and round of pruning
ROUNDS = "rounds.parquet"  # one row per round, of trials that have several
SENSITIVITY = "sensitivity.parquet"  # one row per layer and rate at which it alone is pruned
PREDICTIONS = "predictions.parquet"  # one row per validation image: what the network answers
DISSECTION = "dissection.parquet"  # one row a dissected unit
NETWORK = "network.json"  # what to build before the checkpoint is loaded
GALLERY = "gallery"  # pictures of what chosen units answer to
