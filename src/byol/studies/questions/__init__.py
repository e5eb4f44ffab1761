"""One file per study; each holds a `Study`, and is found by being here."""
