"""The parts that a spec is made of: one module for each group of fields that a user fills in."""
