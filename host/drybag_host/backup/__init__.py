"""Backups: an open format, written so that a crash never costs the one that is there."""
