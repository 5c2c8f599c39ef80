"""What a run leaves to read: its report, and the parts and further reports that stand beside it."""
