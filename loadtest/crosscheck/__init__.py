"""The open loop's own scenario, run by k6: a generator that shares no line with ours, to check ours by.

k6 is a program of its own, licensed under the AGPL; it is started, never linked, and installed only by who wants it.
"""
