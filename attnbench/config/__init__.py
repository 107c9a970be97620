"""Every setting: its schema, its files in conf/, and how words become a configuration."""
