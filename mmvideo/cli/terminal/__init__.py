"""Terminal handling of the commands: usage errors, tables, output streams."""
