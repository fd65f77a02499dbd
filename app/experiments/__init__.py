"""Experiments: arms of runs that begin in the same world and differ by their treatment."""
