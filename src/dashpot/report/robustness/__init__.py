"""How scores fall as inputs get worse: the record, the table and the figure."""
