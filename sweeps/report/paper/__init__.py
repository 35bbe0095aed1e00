"""What is of von Rad & Seuffert 2024 (arXiv 2409.19727) alone: the points that they released."""
