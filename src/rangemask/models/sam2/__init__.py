"""SAM 2.1 (arXiv 2408.00714) through transformers: sizes, weights, prompts."""
