"""A board gets its firmware: what is written in which order, and what must never be."""
