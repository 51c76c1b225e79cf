"""The one exception for what a user can mend."""


class UserError(Exception):
    """One line: what is wrong, where, and what to do. Shown without a traceback; exit code 2."""
