"""What crosses between two processes, and in which form. Both ends import it; it knows neither."""
