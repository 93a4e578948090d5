"""The demonstration: an address book made up, and a handset whose battery is pulled again and again."""
