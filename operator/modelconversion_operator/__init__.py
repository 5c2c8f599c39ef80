"""The operator: watches ModelConversions, runs a Job for each, and writes what became of it."""
