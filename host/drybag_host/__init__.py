"""Drybag host tools."""
