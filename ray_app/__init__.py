"""Backline: a support-center engine on Ray."""

__version__ = "0.1.0"
