"""Where a node keeps its state."""
