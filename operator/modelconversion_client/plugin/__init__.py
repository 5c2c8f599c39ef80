"""``kubectl mconv``: run, list, why, retry, report, compare and targets, for people."""
