"""What a link has received, into rows of records, and what open browsers are told."""
