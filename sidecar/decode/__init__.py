"""Exchange → observation: one file per wire format, chosen by name or by sniffing."""
