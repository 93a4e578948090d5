"""Whole histories of handsets and a hub: the simulation, and the drill."""
