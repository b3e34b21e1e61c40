-- What many rows at once leave to do, done now and not by autovacuum in the middle of a run.
VACUUM (ANALYZE);
