"""Leaderboards as Markdown, HTML, LaTeX and pictures."""
