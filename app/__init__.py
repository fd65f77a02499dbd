"""Sim-Feed: a social network whose members are personas played by a language model."""
