"""One scenario a module; each has `run(bench)`, which returns the table's rows."""
