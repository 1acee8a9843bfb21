"""Make a data set out of another one: share its images out, write its labels in another format."""
