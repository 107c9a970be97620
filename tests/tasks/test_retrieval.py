"""Retrieval: ranks by hand, the embedded identities, a folder laid out like MARS."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from attnbench import data, running, tasks
from attnbench.errors import Impossible, UserError
from attnbench.sweeping.experiment import cell
from attnbench.tasks.retrieval import Meter, ranking

CPU = torch.device("cpu")
SMALL = ["task=retrieval", "data.size=16", "data.frames=2", "data.classes=10"]
SMALL += ["data.train=64", "data.val=200", "data.test=400"]


def measured(rows: list[tuple[float, int, int, int]], parts: int = 1) -> dict[str, float]:
    """Metrics of clips whose vectors lie on a line: (where, identity, camera, query)."""
    vectors = torch.tensor([[row[0], 0.0] for row in rows])
    targets = torch.tensor([row[1:] for row in rows])
    meter = Meter(CPU, "torchreid")
    for x, y in zip(vectors.chunk(parts), targets.chunk(parts)):
        meter.update(x, y)
    return meter.compute()


GALLERY = [(1.0, 2, 1, 0), (2.0, 1, 1, 0), (3.0, 3, 1, 0), (4.0, 1, 2, 0)]


@pytest.mark.parametrize("parts", [1, 3])
def test_ranks_by_hand(parts: int):
    # From 0 the right ones come second and fourth: precision (1/2 + 2/4) / 2.
    found = measured([(0.0, 1, 0, 1), *GALLERY], parts)
    assert found["rank1"] == 0
    assert found["rank5"] == 100
    assert found["map"] == pytest.approx(100 * (1 / 2 + 2 / 4) / 2)


def test_clips_of_the_querys_own_camera_do_not_count():
    near = [(0.1, 1, 0, 0), (0.2, 1, 0, 0)]
    assert measured([(0.0, 1, 0, 1), *near, *GALLERY]) == measured([(0.0, 1, 0, 1), *GALLERY])
    # Those of another identity at that camera do.
    wrong = measured([(0.0, 1, 0, 1), (0.1, 4, 0, 0), *GALLERY])
    assert wrong["map"] == pytest.approx(100 * (1 / 3 + 2 / 5) / 2)


def test_junk_is_left_out_and_distractors_are_not():
    assert measured([(0.0, 1, 0, 1), (0.1, -1, 1, 0), *GALLERY]) == measured([(0.0, 1, 0, 1), *GALLERY])
    assert measured([(0.0, 1, 0, 1), (0.1, 0, 1, 0), *GALLERY])["map"] < 50


def test_a_query_without_a_match_is_none():
    lonely = (9.0, 7, 0, 1)
    found, expected = measured([(0.0, 1, 0, 1), lonely, *GALLERY]), measured([(0.0, 1, 0, 1), *GALLERY])
    assert found == {**expected, "queries": 2, "queries_left_out": 1}
    with pytest.raises(UserError, match="no query has a match"):
        measured([lonely, *GALLERY])


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    drawn = torch.Generator().manual_seed(0)
    vectors = torch.randn(60, 4, generator=drawn)
    targets = torch.stack(
        [torch.randint(0, 5, (60,), generator=drawn), torch.arange(60) % 3, torch.zeros(60)], 1
    ).long()
    targets[:10, 2] = 1
    found = ranking(vectors, targets, "torchreid")
    for row in range(10):
        kept = (targets[:, 2] == 0) & ~(
            (targets[:, 0] == targets[row, 0]) & (targets[:, 1] == targets[row, 1])
        )
        right = (targets[kept, 0] == targets[row, 0]).numpy()
        near = -(vectors[kept] - vectors[row]).norm(dim=1).numpy()
        assert found.precision[row] == pytest.approx(average_precision_score(right, near), rel=1e-5)


def official(vectors: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Rank-1 and mAP as MARS's authors compute them, place by place."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    firsts, precisions = [], []
    for row in np.flatnonzero(targets[:, 2] == 1):
        same, camera = targets[:, 0] == targets[row, 0], targets[:, 1] == targets[row, 1]
        good, junk = (
            set(np.flatnonzero(same & ~camera)),
            set(np.flatnonzero((same & camera) | (targets[:, 0] == -1))),
        )
        seen = hits = 0
        before, recall, area, first = 1.0, 0.0, 0.0, None
        for place in np.argsort(np.linalg.norm(vectors - vectors[row], axis=1), kind="stable"):
            if place in junk:
                continue
            seen, hits = seen + 1, hits + (place in good)
            first = seen if place in good and first is None else first
            now = hits / seen
            area += (hits / len(good) - recall) * (before + now) / 2
            before, recall = now, hits / len(good)
        firsts.append(first == 1)
        precisions.append(area)
    return 100 * float(np.mean(firsts)), 100 * float(np.mean(precisions))


def test_the_default_protocol_is_that_of_the_authors_of_mars():
    drawn = np.random.default_rng(0)
    vectors = drawn.normal(size=(60, 4)).astype(np.float32)
    targets = np.stack([np.arange(60) % 5, np.arange(60) % 3, np.arange(60) < 20], 1).astype(np.int64)
    targets[50:55, 0], targets[55:, 0] = -1, 0
    meter = Meter(CPU)
    meter.update(torch.from_numpy(vectors), torch.from_numpy(targets))
    found = meter.compute()
    rank1, precision = official(vectors, targets)
    assert found["rank1"] == pytest.approx(rank1) and found["map"] == pytest.approx(precision, rel=1e-5)
    assert (found["queries"], found["queries_left_out"]) == (20, 0)
    plain = Meter(CPU, "torchreid")
    plain.update(torch.from_numpy(vectors), torch.from_numpy(targets))
    assert plain.compute()["map"] != pytest.approx(precision, rel=1e-3)


def test_queries_whose_only_match_is_a_query_are_left_out_by_one_protocol_and_counted():
    # Two queries of one identity at two cameras, and a gallery of others.
    rows = [(1.0, 1, 0, 1), (1.5, 1, 1, 1), (2.0, 2, 0, 0), (3.0, 2, 1, 1)]
    targets = torch.tensor([row[1:] for row in rows])
    vectors = torch.tensor([[row[0], 1.0] for row in rows])
    found = {}
    for protocol in ("mars", "torchreid"):
        meter = Meter(CPU, protocol)
        meter.update(vectors, targets)
        found[protocol] = meter.compute()
    assert found["torchreid"]["queries_left_out"] == 2 and found["mars"]["queries_left_out"] == 0
    assert found["torchreid"]["queries"] == found["mars"]["queries"] == 3


def test_without_a_gallery_no_query_has_a_match():
    meter = Meter(CPU, "torchreid")
    meter.update(torch.zeros(2, 3), torch.tensor([[1, 0, 1], [1, 1, 1]]))
    with pytest.raises(UserError, match="no query has a match"):
        meter.compute()


# Embedded identities


@pytest.fixture(scope="module")
def embedded():
    return data.load(cell(SMALL).config.data, CPU, 0, "retrieval")


def test_each_identity_is_asked_for_at_each_camera(embedded):
    identity, camera, query = embedded.test.targets.unbind(1)
    assert (len(identity.unique()), len(camera.unique())) == (50, 4)
    asked = torch.stack([identity, camera], 1)[query == 1]
    assert len(asked) == len(asked.unique(dim=0)) == 200
    kept = torch.stack([identity, camera], 1)[query == 0]
    assert len(kept.unique(dim=0)) == 200
    assert embedded.train.targets.ndim == 1
    assert set(embedded.train.targets.tolist()) == set(range(10))


def test_clips_are_the_same_each_time(embedded):
    from attnbench.data.scenes import retrieval

    retrieval.paint.cache_clear()
    assert data.load(cell(SMALL).config.data, CPU, 0, "retrieval").checksum == embedded.checksum


def test_too_few_clips_are_refused():
    with pytest.raises(UserError, match="50 identities at 4 cameras need 400"):
        data.load(cell([*SMALL, "data.test=399"]).config.data, CPU, 0, "retrieval")


def test_the_network_gives_classes_in_training_and_vectors_to_compare():
    each = cell(SMALL)
    task = tasks.load(each.config)
    model = running.build(each, task)
    clips = torch.randn(3, 2, 3, 16, 16)
    assert model(clips).shape == (3, 10)
    assert task.predict(model.eval(), clips).shape == (3, 64)
    assert torch.allclose(model.head.classify(model.embed(clips)), model(clips), atol=1e-5)


def test_a_head_without_a_vector_is_impossible():
    each = cell(SMALL)
    model = running.build(each)
    model.head = torch.nn.Flatten()
    with pytest.raises(Impossible, match="no vector"):
        model(torch.randn(1, 2, 3, 16, 16))


def test_a_cell_runs_to_its_record(tmp_path: Path):
    words = ["recipe.epochs=1", "cost.latency=false", "cost.memory=false", "hardware.threads=1"]
    record = running.run(cell([*SMALL, *words, f"results={tmp_path}", f"runs={tmp_path}"]))
    assert record["status"] == "done", record["reason"]
    assert set(record["metrics"]["test"]) == {"rank1", "rank5", "map", "queries", "queries_left_out"}


# MARS


def people(root: Path, part: str, identities: list[str], cameras: int = 2, tracks: int = 2) -> None:
    """Two frames a tracklet."""
    for identity in identities:
        folder = root / part / identity
        folder.mkdir(parents=True)
        for camera in range(1, cameras + 1):
            for track in range(1, tracks + 1):
                for frame in (1, 2):
                    name = f"{identity}C{camera}T{track:04d}F{frame:03d}.jpg"
                    Image.new("RGB", (8, 16), (hash(name) % 256, 0, 0)).save(folder / name)


@pytest.fixture
def mars(tmp_path: Path) -> Path:
    people(tmp_path, "bbox_train", [f"{i:04d}" for i in range(1, 11)])
    people(tmp_path, "bbox_test", ["0011", "0012", "0000", "00-1"])
    return tmp_path


def load(folder: Path, *arguments: str):
    words = ["task=retrieval", "data=mars", f"data.root={folder}", "data.size=16", "data.width=8"]
    return data.load(
        cell([*words, "data.frames=2", "data.classes=9", "recipe.batch_size=8", *arguments]).config.data,
        CPU,
        0,
        "retrieval",
    )


def test_tracklets_are_told_by_the_frames_names(mars: Path):
    found = load(mars)
    assert (len(found.train), len(found.val), len(found.test)) == (36, 4, 16)
    assert found.classes == sorted(found.classes, key=int)
    targets = set(map(tuple, found.test.targets.tolist()))
    assert {row[0] for row in targets} == {11, 12, 0, -1}
    assert {row[:2] for row in targets if row[2]} == {(11, 1), (11, 2), (12, 1), (12, 2)}
    assert set(found.train.targets.tolist()) == set(range(9))
    clips, targets_ = next(iter(found.test.batches(4)))
    assert clips.shape == (4, 2, 3, 16, 8)
    assert targets_.shape == (4, 3)


def test_the_official_lists_say_which_tracks_and_queries_there_are(mars: Path):
    info = mars / "info"
    info.mkdir()
    names = {
        part: sorted(p.name for p in (mars / f"bbox_{part}").rglob("*.jpg")) for part in ("train", "test")
    }
    for part, listed in names.items():
        (info / f"{part}_name.txt").write_text("\n".join(listed))
        rows = []
        for first in range(0, len(listed), 2):
            identity, camera = listed[first][:4], listed[first][5]
            rows.append([first + 1, first + 2, -1 if identity == "00-1" else int(identity), int(camera)])
        savemat(info / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows)})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([[5, 8]])})
    found = load(mars)
    assert len(found.test) == 16
    assert found.test.targets[:, 2].nonzero()[:, 0].tolist() == [4, 7]
    (info / "query_IDX.mat").write_bytes(b"no Matlab")
    with pytest.raises(UserError, match=r"query_IDX.mat cannot be read"):
        load(mars)
    (info / "query_IDX.mat").unlink()
    with pytest.raises(UserError, match=r"query_IDX.mat missing"):
        load(mars)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.classes=10"], "set data.classes=9"),
        (["data.options.val_share=1.5"], "between 0 and 1"),
        (["data.train=99"], "data.train=99, but the train split has 36"),
    ],
)
def test_what_the_folder_does_not_hold_is_refused(mars: Path, words: list[str], message: str):
    with pytest.raises(UserError, match=message):
        load(mars, *words)


def test_names_that_say_nothing_and_folders_that_are_missing(mars: Path, tmp_path: Path):
    (mars / "bbox_train" / "0001" / "face.jpg").touch()
    with pytest.raises(UserError, match=r"face.jpg: the name does not tell"):
        load(mars)
    with pytest.raises(UserError, match="no folders bbox_train/"):
        load(mars / "bbox_train")


def test_sets_with_one_tracklet_a_camera_search_from_the_first_camera(tmp_path: Path):
    """PRID and iLIDS-VID: the first camera's tracklets are searched for among the second's."""
    people(tmp_path, "bbox_train", [f"{i:04d}" for i in range(1, 11)], tracks=1)
    people(tmp_path, "bbox_test", ["0011", "0012"], tracks=1)
    targets = load(tmp_path).test.targets
    assert [tuple(row) for row in targets.tolist()] == [(11, 1, 1), (11, 2, 0), (12, 1, 1), (12, 2, 0)]
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    found = ranking(vectors, targets)
    assert found.first.tolist() == [0, 0]


def test_a_set_without_matches_is_refused_while_it_is_read(tmp_path: Path):
    people(tmp_path, "bbox_train", [f"{i:04d}" for i in range(1, 11)])
    people(tmp_path, "bbox_test", ["0011", "0012"], cameras=1)
    with pytest.raises(UserError, match="4 tracklets of the test split no query has a match at"):
        load(tmp_path)


def test_fewer_tracklets_train_all_identities_and_test_whole_ones(mars: Path):
    few, more = load(mars, "data.train=9"), load(mars, "data.train=18")
    assert sorted(few.train.targets.tolist()) == list(range(9))
    assert set(few.train.videos.places) <= set(more.train.videos.places)
    found = load(mars, "data.test=4")
    assert len(found.test) == 4 and len({i for i, _, _ in found.test.targets.tolist()}) == 1
    with pytest.raises(UserError, match=r"no query has a match .*is data\.test too small"):
        load(mars, "data.test=2")
    with pytest.raises(UserError, match=r"data\.test=17, but the test split has 16 tracklets"):
        load(mars, "data.test=17")
