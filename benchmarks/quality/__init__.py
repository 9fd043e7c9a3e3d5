"""Figures on the quality of renditions: damage, colors, gain maps, smart crops and encoders. Inputs are generated."""
