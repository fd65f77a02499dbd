"""Sessions: runs whose turns follow from a design, a seed and what was said so far. Any process can go on with one."""
