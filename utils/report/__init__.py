"""One HTML page about a training run, or about several side by side, made of what lies in their folders."""
