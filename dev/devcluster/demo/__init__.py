"""The demonstration that ``make demo`` runs.

Runs in one process that starts all others and ends them. Called by ``make demo``.
"""
