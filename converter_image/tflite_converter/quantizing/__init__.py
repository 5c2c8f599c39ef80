"""From one float file to the quantized ones: calibration, recipes, and the search for a better recipe.

Runs in the LiteRT child. Called by ``workers.litert``.
"""
