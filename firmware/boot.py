# Drybag: the handset's application starts in main.py. Nothing else happens here, so that a boot
# has only one place where it can go wrong.
