"""Where a teacher's signals come from: a live model, or the Parquet cache wrapped round any source."""
