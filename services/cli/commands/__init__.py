"""The command line, one module per kind of command: options in, a call, results out.

What a command does lives beside this package; here it is only named, asked for and shown.
"""
