"""From files to pictures: single runs, batches, and their records."""
