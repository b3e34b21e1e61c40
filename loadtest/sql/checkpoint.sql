-- So that every run begins alike: the first change of each page after it writes the whole page to the log.
CHECKPOINT;
