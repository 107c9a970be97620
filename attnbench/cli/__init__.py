"""The command line: one verb a subparser."""
