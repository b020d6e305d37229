"""The offline pipeline: from a folder of data to the paper's table, one commented YAML a row."""
