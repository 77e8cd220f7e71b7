"""The steps of the Beam pipeline one by one, each on a few literal rows."""

import weakref

import numpy as np

from tfllm.data.preparation import beam_pipeline
from tfllm.data.preparation.chunk_files import INDEX
from tfllm.data.preparation.shards import ShardJob, ShardPlan


def test_the_last_zeros_of_a_hash_are_kept():
    names = [b"\1" * 30 + b"\0\0", b"\0" * 32, b"\2" * 32]
    assert beam_pipeline._names(np.array(names, "S32")) == names


def test_links_are_counted_once_and_joined_as_they_come():
    class Links:
        lengths = 0

        def __len__(self):
            Links.lengths += 1
            return 1

    join = beam_pipeline.Join()
    joined = join.create_accumulator()
    for _ in range(100):
        joined = join.add_input(joined, Links())
    assert Links.lengths <= 200
    assert join.add_input(joined, np.zeros((0, 2), "S32")) is joined
    join.AT_ONCE, joined = 2, join.create_accumulator()
    for pair in ([b"b", b"c"], [b"a", b"b"], [b"d", b"e"]):
        joined = join.add_input(joined, np.array([pair], "S32"))
    assert [links.tolist() for links in joined.links] == [[[b"a", b"b"], [b"a", b"c"]], [[b"d", b"e"]]]
    assert join.extract_output(joined).tolist() == [[b"a", b"b"], [b"a", b"c"], [b"d", b"e"]]


def test_of_all_copies_two_are_held():
    class Ids:
        pass

    held, most = [], []

    def copies():
        for number in range(6):
            ids = Ids()
            held.append(weakref.ref(ids))
            entry = np.array([((1, 2, 3, 4), 0, 1, 1, 0, number + 1)], INDEX)
            yield beam_pipeline.TokenizedDocument(entry.tobytes(), ids, b"", b"")
            del ids
            most.append(sum(each() is not None for each in held))

    name, document = beam_pipeline.once(b"name", copies())
    assert name == b"name"
    assert np.frombuffer(document.entry, INDEX)["copies"].tolist() == [21]
    assert document.ids is held[0]()
    assert max(most) == 2


def test_shards_are_counted_once_for_all_documents():
    class Jobs(tuple):
        walks = 0

        def __iter__(self):
            Jobs.walks += 1
            return super().__iter__()

    jobs = Jobs([ShardJob("train", 0, 2), ShardJob("train", 1, 2), ShardJob("validation", 0, 1)])
    plan_chunks = ShardPlan(5, jobs)
    names = [first + bytes(7) + bytes(7) + second for first in (b"\x7f", b"\x80") for second in (b"\4", b"\5")]
    assert [plan_chunks.shard_of(name) for name in names] == [jobs[2], jobs[0], jobs[2], jobs[1]]
    assert Jobs.walks == 1
