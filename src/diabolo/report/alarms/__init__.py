"""What may be wrong with a fitted autoencoder or with the rows it is shown, each check with what to do about it.

A check has one measured number, the limit that it is held against, and advice; it says nothing of quality: that is for
the reader to judge. A file of this folder that registers one is all that a new one needs.
"""

from diabolo.report.alarms.base import Alarm, Finding, alarms, findings

__all__ = ["Alarm", "Finding", "alarms", "findings"]
