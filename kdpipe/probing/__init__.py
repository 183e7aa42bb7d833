"""Probing: what can be read off each layer of a frozen model by a small classifier.

Conneau et al. 2018, "What you can cram into a single vector", arXiv:1805.01070.
"""
