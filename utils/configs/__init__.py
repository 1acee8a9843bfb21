"""The flags of the commands, one file for each; ``utils/config.py`` reads them."""
