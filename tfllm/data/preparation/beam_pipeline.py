"""The pipeline of beam.py, step by step. Sources in, the files of shards and one of counts out.

    chunk     a part of a file (chunks.py)
    document  (sha256, Document)
    shard     (ShardJob as a tuple, its documents)

What runs on workers are the functions of local preparation, and here a little between them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from tfllm.corpus.chunks import Chunk, plan_chunks
from tfllm.corpus.documents import read_documents
from tfllm.corpus.filesystem import write_whole
from tfllm.corpus.sources import Source
from tfllm.data.preparation.chunk_files import INDEX, ChunkFileSettings, names_of, tokenize_documents
from tfllm.data.preparation.near_duplicates import MinHashSettings, find_links, join_links
from tfllm.data.preparation.shards import ShardJob, ShardPlan, ShardRecord, Totals, describe, empty_shard, in_order, plan_shards

CHUNK_BYTES = 1 << 23
Shard = tuple[str, int, int]
"""A ShardJob as a key."""


class TokenizedDocument(NamedTuple):
    """A row of a piece as bytes, which travel cheaper than arrays: its INDEX entry, its ids and, where near
    duplicates are looked for, its keys and signature."""

    entry: bytes
    ids: bytes
    keys: bytes
    signature: bytes
    goes: bool = False
    """As a near duplicate of another."""


@dataclass(frozen=True)
class Target:
    """Where the shards and the counts go, and how the documents are divided."""

    store: str
    result: str
    validation: float
    shards: int | None


def build(pipeline: Any, sources: Sequence[Source], work: ChunkFileSettings, target: Target) -> None:
    """Add all steps to the pipeline. The totals settle the split, so they are known before any shard is begun."""
    tokenized = (
        pipeline
        | "sources" >> beam.Create(sources)
        | "spread sources" >> beam.Reshuffle()
        | "cut" >> beam.FlatMap(lambda source: plan_chunks([source], work.read_options, CHUNK_BYTES))
        | "spread chunks" >> beam.Reshuffle()
        | "tokenize" >> beam.ParDo(Tokenize(work)).with_outputs("other", main="documents")
    )
    documents = tokenized.documents | "by hash" >> beam.GroupByKey() | "once" >> beam.MapTuple(once)
    if work.minhash:
        gone = near_duplicates(documents, work.minhash)
        documents = (documents, gone) | "with those gone" >> beam.CoGroupByKey() | "leave out" >> beam.MapTuple(left_out)
    counts = (
        documents
        | "entries" >> beam.MapTuple(lambda _, document: document._replace(ids=b""))
        | "a few thousand" >> beam.BatchElements(max_batch_size=4096)
        | "count" >> beam.Map(totals_of, target.validation)
    )
    totals = (counts, tokenized.other) | "all counts" >> beam.Flatten() | "add up" >> beam.CombineGlobally(AddUp())
    settled = totals | "settle" >> beam.Map(plan_shards, target.validation, target.shards)
    placed = documents | "place" >> beam.FlatMap(place, beam.pvalue.AsSingleton(settled))
    # Shards without a document are files, too.
    jobs = settled | "shards" >> beam.FlatMap(lambda found: [(astuple(job), None) for job in found.jobs])
    records = (
        (jobs, placed)
        | "by shard" >> beam.CoGroupByKey()
        | "write" >> beam.MapTuple(lambda job, found: write_shard(job, found, work, target))
    )
    _ = totals | "result" >> beam.Map(write_result, beam.pvalue.AsList(records), target.result)


def near_duplicates(documents: Any, minhash: MinHashSettings) -> Any:
    """(sha256, None) of every document that goes. All links meet on one worker in the end."""
    return (
        documents
        | "bands" >> beam.FlatMapTuple(bands)
        | "by band" >> beam.GroupByKey()
        | "link" >> beam.MapTuple(lambda _, members: linked(members, minhash))
        | "join" >> beam.CombineGlobally(Join())
        | "gone" >> beam.FlatMap(lambda links: [(names, None) for names in _names(links[:, 1])])
    )


class Tokenize(beam.DoFn):
    """A chunk to its documents, and what is no document to the output "other"."""

    def __init__(self, work: ChunkFileSettings):
        self.work = work

    def process(self, chunk: Chunk) -> Iterator[Any]:
        piece = tokenize_documents(read_documents(chunk, self.work.read_options), self.work)
        skipped = Counter(piece.header["skipped"])
        yield beam.pvalue.TaggedOutput("other", Totals(empty=piece.header["empty"], skipped=skipped))
        for row, name in enumerate(_names(names_of(piece.index["hash"]))):
            start, length = (int(piece.index[column][row]) for column in ("start", "length"))
            yield (
                name,
                TokenizedDocument(
                    entry=piece.index[row].tobytes(),
                    ids=piece.ids[start : start + length].tobytes(),
                    keys=piece.keys[:, row].tobytes(),
                    signature=piece.signatures[row].tobytes(),
                ),
            )


def once(name: bytes, copies: Iterable[TokenizedDocument]) -> tuple[bytes, TokenizedDocument]:
    """One document in place of its copies, with their number."""
    copies = iter(copies)  # one at a time: of a text that is everywhere they do not fit into memory
    first = next(copies)
    entry = np.frombuffer(first.entry, INDEX).copy()
    for one in copies:
        entry["copies"] += np.frombuffer(one.entry, INDEX)["copies"]
    return name, first._replace(entry=entry.tobytes())


def bands(name: bytes, document: TokenizedDocument) -> Iterator[tuple[bytes, tuple[bytes, bytes]]]:
    """The document under each of its bands: (number and key of the band, (sha256, signature))."""
    for band in range(len(document.keys) // 8):
        yield band.to_bytes(2) + document.keys[8 * band : 8 * band + 8], (name, document.signature)


def linked(members: Iterable[tuple[bytes, bytes]], minhash: MinHashSettings) -> np.ndarray:
    """The links among the documents of one key of one band, "S32" [L, 2]."""
    every = list(members)
    names = np.array([name for name, _ in every], "S32")
    rows = np.frombuffer(b"".join(signature for _, signature in every), np.uint8).reshape(len(every), -1)
    links = find_links(np.zeros(len(every), np.uint64), names, rows, minhash)
    return links[links[:, 0] != links[:, 1]]


class Joined(NamedTuple):
    """Links: those joined, and after them those that wait to be, with their number."""

    links: list[np.ndarray]
    waiting: int = 0


class Join(beam.CombineFn):
    """Links, joined as they come together: [links] -> links."""

    AT_ONCE = 1 << 20

    def create_accumulator(self) -> Joined:
        return Joined([np.zeros((0, 2), "S32")])

    def add_input(self, joined: Joined, links: np.ndarray) -> Joined:
        if not len(links):  # most keys
            return joined
        joined.links.append(links)
        waiting = joined.waiting + len(links)
        if waiting < max(self.AT_ONCE, len(joined.links[0])):
            return joined._replace(waiting=waiting)
        return Joined([self.extract_output(joined)])

    def merge_accumulators(self, several: Iterable[Joined]) -> Joined:
        return Joined([join_links(np.concatenate([links for joined in several for links in joined.links]))])

    def extract_output(self, joined: Joined) -> np.ndarray:
        return join_links(np.concatenate(joined.links))


def left_out(name: bytes, found: tuple[Iterable[TokenizedDocument], Iterable[None]]) -> tuple[bytes, TokenizedDocument]:
    """The document, with what is done with it from here on."""
    (document,) = found[0]
    return name, document._replace(keys=b"", signature=b"", goes=bool(list(found[1])))


class AddUp(beam.CombineFn):
    """Totals, added up."""

    def create_accumulator(self) -> Totals:
        return Totals()

    def add_input(self, total: Totals, one: Totals) -> Totals:
        return total + one

    def merge_accumulators(self, several: Iterable[Totals]) -> Totals:
        return sum(several, Totals())

    def extract_output(self, total: Totals) -> Totals:
        return total


def totals_of(documents: Sequence[TokenizedDocument], validation: float) -> Totals:
    """Documents, counted."""
    index = np.frombuffer(b"".join(document.entry for document in documents), INDEX)
    return Totals.of(index, np.array([document.goes for document in documents], bool), validation)


def place(named: tuple[bytes, TokenizedDocument], settled: ShardPlan) -> Iterator[tuple[Shard, TokenizedDocument]]:
    """The document under its shard, if it stays."""
    name, document = named
    if not document.goes:
        yield astuple(settled.shard_of(name)), document


def write_shard(
    job: Shard, found: tuple[Iterable[None], Iterable[TokenizedDocument]], work: ChunkFileSettings, target: Target
) -> ShardRecord:
    """Sort the documents of a shard and write it."""
    documents = list(found[1])
    index = np.frombuffer(b"".join(document.entry for document in documents), INDEX)
    order = in_order(index["hash"])
    index = index[order]
    ids, offsets = empty_shard(index["length"], work.dtype, work.tokenizer.eos_id)
    for row, start, length in zip(order.tolist(), offsets.tolist(), index["length"].tolist(), strict=True):
        ids[start : start + length] = np.frombuffer(documents[row].ids, work.dtype)
    shard = ShardJob(*job)
    write_whole(f"{target.store}/{shard.name}.tokens", [ids])
    write_whole(f"{target.store}/{shard.name}.offsets", [offsets])
    return describe(shard, index, ids, offsets)


def write_result(totals: Totals, records: Sequence[ShardRecord], path: str) -> None:
    """What the launcher makes the manifest of."""
    text = json.dumps({"totals": vars(totals), "records": [asdict(record) for record in records]})
    write_whole(path, [text.encode()])


def _names(names: np.ndarray) -> list[bytes]:
    """ "S32" as bytes; NumPy's own conversion drops zeros at the end."""
    data = np.ascontiguousarray(names).tobytes()
    return [data[start : start + 32] for start in range(0, len(data), 32)]
