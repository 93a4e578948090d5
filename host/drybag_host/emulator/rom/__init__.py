"""The emulated board's ROM: modules run by MicroPython, as the chip's firmware would bring.

Only `nor` is imported by CPython too: it is the one fault model.
"""
