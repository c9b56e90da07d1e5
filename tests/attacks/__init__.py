"""What hostile clients, pages, users, files and servers may try, against real processes: make attack prints a table."""
