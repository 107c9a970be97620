"""No attention, in NumPy."""

CASES = [{}]
COUNTS = [(64, {}, 0)]
OFFICIAL = (64, {}, [])


def forward(x, p, options, training):
    return x
