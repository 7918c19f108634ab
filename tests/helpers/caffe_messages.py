"""Caffe's messages for the protobuf library, an independent writer of .caffemodel files."""

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64, "float": _FIELD.TYPE_FLOAT,
          "double": _FIELD.TYPE_DOUBLE, "string": _FIELD.TYPE_STRING}
# Name, number and type of what matters of caffe.proto; "*" marks what is repeated.
_MESSAGES = {
    "BlobShape": (("dim", 1, "int64*"),),
    "BlobProto": (("num", 1, "int32"), ("channels", 2, "int32"), ("height", 3, "int32"),
                  ("width", 4, "int32"), ("data", 5, "float*"), ("diff", 6, "float*"),
                  ("shape", 7, "BlobShape"), ("double_data", 8, "double*")),
    "LayerParameter": (("name", 1, "string"), ("type", 2, "string"), ("bottom", 3, "string*"),
                       ("blobs", 7, "BlobProto*"), ("loss_weight", 5, "float*")),
    "V0LayerParameter": (("name", 1, "string"), ("blobs", 50, "BlobProto*")),
    "V1LayerParameter": (("layer", 1, "V0LayerParameter"), ("name", 4, "string"),
                         ("type", 5, "int32"), ("blobs", 6, "BlobProto*"),
                         ("blobs_lr", 7, "float*")),
    "NetParameter": (("name", 1, "string"), ("layers", 2, "V1LayerParameter*"),
                     ("input", 3, "string*"), ("layer", 100, "LayerParameter*")),
}


@functools.cache
def caffe_message(name, *, packed=True):
  """Returns the class of a message; numbers that are repeated are packed, or each has its tag."""
  file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
  for message, fields in _MESSAGES.items():
    added = file.message_type.add(name=message)
    for field, number, kind in fields:
      _add_field(added, field, number, kind, packed)
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


def _add_field(message, name, number, kind, packed):
  repeated, plain = kind.endswith("*"), kind.removesuffix("*")
  field = message.field.add(
      name=name, number=number,
      label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL)
  if plain in _TYPES:
    field.type = _TYPES[plain]
    if repeated and plain != "string":
      field.options.packed = packed
  else:
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".caffe.{plain}"


def make_net(layers, *, old=False, packed=True, double=False):
  """Returns a NetParameter.

  Args:
    layers: {name: arrays}.
    old: as in 2014: `layers`, and shapes filled up to four numbers from the left.
    packed: as `caffe_message` has it.
    double: numbers of 64 bits.
  """
  net = caffe_message("NetParameter", packed=packed)(name="a net", input=["data"])
  for name, arrays in {"data": (), **layers}.items():
    layer = (net.layers if old else net.layer).add(name=name)
    for array in arrays:
      blob = layer.blobs.add()
      (blob.double_data if double else blob.data).extend(array.ravel().tolist())
      if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        blob.num, blob.channels, blob.height, blob.width = shape
      else:
        blob.shape.dim.extend(array.shape)
  return net
