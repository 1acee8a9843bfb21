"""From a data-set YAML to checked images and labels."""
