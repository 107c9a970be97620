"""The embedded sets: cluttered handwritten digits, made on the fly for each task."""

PARTS = {
    "cls": "attnbench.data.scenes.digits",
    "seg": "attnbench.data.scenes.masks",
    "clip": "attnbench.data.scenes.clips",
    "retrieval": "attnbench.data.scenes.retrieval",
    "skeleton": "attnbench.data.scenes.skeletons",
    "sequence": "attnbench.data.scenes.sequence",
}
