"""Tell others what happens: CloudEvents on the start and the end of each run to a sink, and traces by OTLP.

Runs in the replica that works, beside the reconcilers, which know nothing of it. What is told follows from
statuses alone, so the API server is where it waits while the sink is down.
"""
