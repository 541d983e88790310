"""Random histories on real (toy) models, against an oracle that knows no checkpoints."""
