"""Controls of equal cost: what a mechanism adds beside attention. They stand in no table of the survey."""
