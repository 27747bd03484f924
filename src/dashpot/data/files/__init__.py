"""Files of data: tables and arrays as they lie on a disk or behind an address."""
