"""Drybag's shared library: one implementation for MicroPython and CPython."""
