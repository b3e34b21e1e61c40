"""Makes the files of this repository that are generated; nothing here is shipped with the bank."""
