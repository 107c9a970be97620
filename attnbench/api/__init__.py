"""The Python API: what `import attnbench` offers, a file a subject; each is imported when it is used."""
