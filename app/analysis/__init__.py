"""What can be read out of a world: its graph, how it is measured and drawn."""
