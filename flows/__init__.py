"""Prefect, and nothing else: flows and tasks round functions of kdpipe.phases that know nothing of it."""
