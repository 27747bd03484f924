"""Reports: records to tables and figures. Knows nothing of training or of the command line."""
