"""Files with one `Study` each; every file in this folder is read."""
