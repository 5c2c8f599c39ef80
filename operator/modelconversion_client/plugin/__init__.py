"""``kubectl mconv``: run, list, why, retry, report, page, compare and targets, for people."""
