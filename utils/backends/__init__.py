"""Run weights files; a module that is named after a suffix runs the files of that suffix (see ``choose.py``)."""
