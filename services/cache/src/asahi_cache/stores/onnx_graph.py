"""Changes an ONNX graph before it is loaded: rows of a table kept as int8 become numbers once they are looked up.

As it comes, the embedding model turns its whole table of words into float32 and looks rows up there; onnxruntime does
that once, at loading, and keeps the outcome: 47 MB for 12. Only what is changed is described here, with the numbers of
fields of onnx.proto; everything else passes through as unknown fields.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_FIELDS = {
    "Model": {"graph": (7, ".Graph")},
    "Graph": {"node": (1, ".Node*")},
    "Node": {"input": (1, "*"), "output": (2, "*"), "name": (3, ""), "op_type": (4, "")},
}


def look_up_before_widening(model: bytes, table: str) -> bytes:
    """The model with `Gather(Cast(table) * scales, ids)` as `Cast(Gather(table, ids)) * Gather(scales, ids)`.

    `table` is (rows, columns) int8 and its scales (rows, 1) float32: every number comes out the same to the bit.

    Raises:
        ValueError: the graph has no such nodes, or they have other readers.
    """
    changed = _message("Model").FromString(model)
    nodes = changed.graph.node
    cast = _only(nodes, "Cast", table)
    scale = _only(nodes, "Mul", cast.output[0])
    gather = _only(nodes, "Gather", scale.output[0])
    scales, rows = scale.input[1], gather.output[0]
    gather.input[0], gather.output[0] = table, f"{rows}_narrow"
    of_scales = nodes.add()
    of_scales.CopyFrom(gather)
    of_scales.name, of_scales.input[0], of_scales.output[0] = f"{gather.name}_scales", scales, f"{rows}_scales"
    cast.input[0] = gather.output[0]
    scale.input[1], scale.output[0] = of_scales.output[0], rows
    written: bytes = changed.SerializeToString()
    return written


def _only(nodes: Any, op_type: str, first_input: str) -> Any:
    readers = [node for node in nodes if first_input in node.input]
    if len(readers) != 1 or readers[0].op_type != op_type or readers[0].input[0] != first_input:
        raise ValueError(f"{first_input} is not read by one {op_type} alone")
    return readers[0]


def _message(name: str) -> Any:
    file = FileDescriptorProto(name="asahi_onnx.proto", package="asahi.onnx", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            described.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_REPEATED
                if kind.endswith("*")
                else FieldDescriptorProto.LABEL_OPTIONAL,
                type=FieldDescriptorProto.TYPE_MESSAGE if kind.strip("*") else FieldDescriptorProto.TYPE_STRING,
                type_name=f".asahi.onnx{kind.strip('*')}" if kind.strip("*") else None,
            )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"asahi.onnx.{name}"))
