"""What each feature costs on the way of a transfer: with it beside without it, in one run."""
