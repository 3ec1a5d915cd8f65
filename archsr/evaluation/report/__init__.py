"""Write the score card as HTML, Markdown, JSON, Parquet and figures."""
