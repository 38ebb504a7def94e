"""What a verb takes, declared once: signature, command line, validation and record."""
