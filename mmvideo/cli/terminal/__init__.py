"""The terminal's side of the commands: usage errors, tables, output streams."""
