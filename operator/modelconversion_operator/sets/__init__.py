"""Sets of conversions: which members are there, which begin next, and what the whole has come to.

``views`` reads objects, ``deciding`` is pure, ``store`` remembers, ``reconciler`` acts. Members are
ModelConversions like any other, which the rest of the operator works on without knowing of sets.
"""
