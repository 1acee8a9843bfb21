"""The Python API: models for programs, called with images of any kind; what it returns reads like YOLOv5's hub."""
