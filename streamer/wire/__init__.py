"""Messages on the wire, version 1: what each holds, how it is checked, packed and read."""
