"""Checks for faults of a fitted autoencoder, or of the rows it is shown, each with advice.

A check has one measured number and a limit for it. It does not judge quality, which is for the reader. A file of this
folder that registers one is all that a new one needs.
"""

from diabolo.report.alarms.base import Alarm, Finding, alarms, findings

__all__ = ["Alarm", "Finding", "alarms", "findings"]
