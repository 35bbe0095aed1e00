"""The figures of a report, one question each."""
