"""A load of works, their journal, and the verdict on what became of them."""
