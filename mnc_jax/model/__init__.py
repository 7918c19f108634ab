"""The cascade: backbones, stages, targets, losses."""
