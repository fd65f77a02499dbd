"""The TinyTroupe Simulation Engine's persona files, configuration, modes and result format."""
