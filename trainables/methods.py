"""Methods of pruning: their names, and the choices that they stand for."""

METHODS: dict[str, dict[str, str]] = {
    "unstructured": {"granularity": "weight", "scope": "global"},
    "unstructured_layerwise": {"granularity": "weight", "scope": "layer"},
    "structured": {"granularity": "filter", "scope": "layer"},
    "structured_global": {"granularity": "filter", "scope": "global"},
    "connection": {"granularity": "input_channel", "scope": "layer"},
    "connection_global": {"granularity": "input_channel", "scope": "global"},
    "nm_2_4": {"granularity": "2:4", "scope": "layer"},
}
"""A method is a choice of granularity and scope, and these are their names."""

GIVEN = "given"
"""The method of a network that came pruned: nothing is known of how."""

ROTATED = "rotated"
"""The method of the dense network whose units are scored along random directions: a control."""
