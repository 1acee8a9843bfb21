"""Metrics: detections and labels in, figures and curves out."""
