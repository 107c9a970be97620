"""Answers to questions: compare, recommend, what is missing."""
