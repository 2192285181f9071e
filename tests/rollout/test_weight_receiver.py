"""Buckets as the engine reads them: always what the learner has written last, whatever mapping is kept."""

from types import SimpleNamespace

import pytest
import torch

from rollout.weight_receiver import BucketUpdateInfo, keep_unloaded, leave_unpacked, map_file, read_bucket


def read(path, count):
    info = BucketUpdateInfo(
        path=str(path), num_bytes=16 + 4 * count, names=["w"], dtypes=["float32"], shapes=[[count]], offsets=[16]
    )
    ((name, tensor),) = read_bucket(info, map_file(str(path)), torch.device("cpu"))
    assert name == "w"
    return tensor


def write(path, values):
    """As the learner does: through a shared mapping, of which the file may be longer than the bucket."""
    size = 16 + 4 * len(values)
    raw = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
    raw[16:size].view(torch.float32).copy_(torch.tensor(values))


def test_a_bucket_is_what_was_written_last(tmp_path):
    path = tmp_path / "bucket"
    write(path, [1.0, 2.0])
    assert read(path, 2).tolist() == [1.0, 2.0]
    write(path, [3.0, 4.0])
    assert read(path, 2).tolist() == [3.0, 4.0], "the same file, through the same mapping"
    write(path, [5.0, 6.0, 7.0])
    assert read(path, 3).tolist() == [5.0, 6.0, 7.0], "a file that has grown"
    assert read(path, 1).tolist() == [5.0], "a bucket that is shorter than its file"


def test_another_file_of_the_same_name_is_another_file(tmp_path):
    path = tmp_path / "bucket"
    write(path, [1.0])
    assert read(path, 1).tolist() == [1.0]
    path.rename(tmp_path / "old")  # keeps its inode in use
    write(path, [2.0])
    assert read(path, 1).tolist() == [2.0]


def test_what_the_reload_waits_with_is_copied_out(tmp_path):
    """A layer of two weights, of which one bucket brings the first: the file is overwritten before the second comes."""
    from vllm.model_executor.model_loader.reload.layerwise import (
        finalize_layerwise_processing,
        initialize_layerwise_reload,
        record_metadata_for_reloading,
    )

    path, layer = tmp_path / "bucket", torch.nn.Linear(1, 2)
    record_metadata_for_reloading(layer)
    initialize_layerwise_reload(layer)
    write(path, [1.0, 2.0])
    layer.weight.weight_loader(layer.weight, read(path, 2)[:, None])
    keep_unloaded(layer, map_file(str(path)))
    write(path, [3.0, 4.0])
    layer.bias.weight_loader(layer.bias, read(path, 2))
    finalize_layerwise_processing(layer, None)
    assert layer.weight.tolist() == [[1.0], [2.0]]
    assert layer.bias.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("has_head", [True, False])
def test_only_what_looks_tokens_up_is_left_unpacked(has_head):
    """Without a head of its own a model computes its logits with the embedding."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    packed = []

    def layer(kind):
        made = kind.__new__(kind)
        torch.nn.Module.__init__(made)
        made.quant_method = SimpleNamespace(process_weights_after_loading=packed.append)
        return made

    embedding, head = layer(VocabParallelEmbedding), layer(ParallelLMHead)
    layers = [embedding, head] if has_head else [embedding]
    leave_unpacked(torch.nn.ModuleList(layers))
    for each in layers:
        each.quant_method.process_weights_after_loading(each)
    assert packed == [layers[-1]]
