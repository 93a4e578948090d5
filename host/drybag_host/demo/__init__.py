"""The demonstration: a made-up address book, a handset whose battery is pulled again and again."""
