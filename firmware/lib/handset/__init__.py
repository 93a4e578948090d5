"""The handset's application: console for a person, link for a machine, on one serial line."""
