"""The contract: what users ask for, what the Job is told, what it reports, and every reason for failure."""
