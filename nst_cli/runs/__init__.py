"""From files to pictures: single runs, batches, and what is recorded of them."""
