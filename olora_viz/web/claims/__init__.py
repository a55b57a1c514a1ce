"""The page Claims: sentences of papers, each with a verdict, recorded and on a visitor's model."""
