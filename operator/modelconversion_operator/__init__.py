"""The operator: watches ModelConversions, runs a Job for each, and writes what became of it.

One process, ``modelconversion-operator``, with one event loop. Rooms: ``deciding`` is pure, ``cluster``
talks to the API server, ``telemetry`` tells people how it goes; ``reconciler`` joins the first two and
``process`` all of them.
"""
