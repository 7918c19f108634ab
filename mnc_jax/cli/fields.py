"""How the fields of a dataclass become options of a command line."""

import ast
import dataclasses
import functools
import inspect
import itertools
import pathlib
import textwrap
import typing
from typing import Annotated, Any

import tyro
from tyro import constructors

from mnc_jax.config import Config, DataConfig, ModelConfig
from mnc_jax.config.paths import as_local_path, as_path
from mnc_jax.config.validation import FREE, TRAINING_DATA

# Marks a dataclass whose fields are options without its own name in front.
FLAT = tyro.conf.arg(name="")
REGISTRY = constructors.ConstructorRegistry()
# Without the fields of a config that a trained model rejects. Only for help: tyro does not parse
# what it hides, and would not say why they are rejected.
TRAINED_HELP = constructors.ConstructorRegistry()


def _path_spec(metavar, convert):
  return constructors.PrimitiveConstructorSpec(
      nargs=1, metavar=metavar, instance_from_str=lambda texts: convert(texts[0]),
      is_instance=lambda value: isinstance(value, pathlib.PurePath),
      str_from_instance=lambda path: [str(path)])


LocalFile = Annotated[pathlib.Path, _path_spec("FILE", as_local_path)]
LocalFolder = Annotated[pathlib.Path, _path_spec("DIR", as_local_path)]
LocalFiles = Annotated[tuple[pathlib.Path, ...], constructors.PrimitiveConstructorSpec(
    nargs="*", metavar="FILE ...", instance_from_str=lambda texts: tuple(map(as_local_path, texts)),
    is_instance=lambda value: isinstance(value, tuple), str_from_instance=lambda paths: [])]
# These may also be in cloud storage.
File = Annotated[pathlib.Path, _path_spec("FILE", as_path)]
Folder = Annotated[pathlib.Path, _path_spec("DIR", as_path)]
_as_run_path = functools.partial(as_path, clouds=("gs",))
RunFolder = Annotated[pathlib.Path, _path_spec("DIR", _as_run_path)]
RunFolders = Annotated[tuple[pathlib.Path, ...], constructors.PrimitiveConstructorSpec(
    nargs="*", metavar="DIR ...", instance_from_str=lambda texts: tuple(map(_as_run_path, texts)),
    is_instance=lambda value: isinstance(value, tuple), str_from_instance=lambda paths: [])]
# Text, since a shipped name and a folder of that name are not the same.
ModelName = Annotated[str, constructors.PrimitiveConstructorSpec(
    nargs=1, metavar="NAME|DIR|FILE", instance_from_str=lambda texts: texts[0],
    is_instance=lambda value: isinstance(value, str), str_from_instance=lambda name: [name])]


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
  """Returns the docstring below each field of a dataclass, on one line."""
  (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
  assert isinstance(definition, ast.ClassDef)
  return {ast.unparse(field.target): " ".join(ast.literal_eval(doc.value).split())
          for field, doc in itertools.pairwise(definition.body)
          if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)}


@TRAINED_HELP.primitive_rule
@REGISTRY.primitive_rule
def _read_optional(info: Any):
  # tyro would offer "None" as a value, and explain a wrong one by both types.
  parts = set(typing.get_args(info.type))
  if type(None) not in parts or len(parts) != 2:
    return None
  (inner,) = parts - {type(None)}
  spec: Any = REGISTRY.get_primitive_spec(constructors.PrimitiveTypeInfo.make(inner, info.markers))
  return dataclasses.replace(spec, str_from_instance=lambda value: [])


@REGISTRY.struct_rule
def _read_dataclass(info: Any):
  return _read_fields(info, lambda kind, name: True)


@TRAINED_HELP.struct_rule
def _read_free_fields(info: Any):
  return _read_fields(info, lambda kind, name: not (
      (kind is Config and name == "train") or (kind is ModelConfig and name not in FREE)
      or (kind is DataConfig and name in TRAINING_DATA)))


def _read_fields(info: Any, is_shown):
  # tyro would keep the line breaks of field docstrings, and break the lines again.
  kind = info.type
  if not dataclasses.is_dataclass(kind):
    return None
  hints = typing.get_type_hints(kind, include_extras=True)
  given = info.default if isinstance(info.default, info.type) else None
  return constructors.StructConstructorSpec(instantiate=info.type, fields=tuple(
      _read_field(field, hints[field.name], given, field_docs(info.type).get(field.name))
      for field in dataclasses.fields(kind) if is_shown(kind, field.name)))


def _read_field(field, hint: Any, given, doc):
  default = getattr(given, field.name) if given else (
      tyro.MISSING if field.default is dataclasses.MISSING else field.default)
  if default is None or default == ():
    shown = "(optional)" if default is None else "(default: none)"
    hint = Annotated[hint, tyro.conf.arg(help_behavior_hint=shown)]
  return constructors.StructFieldSpec(name=field.name, type=hint, default=default, helptext=doc)


def count_values(kind: Any) -> dict[str, int | None]:
  """Returns the number of values that each option of a dataclass takes; None: any number."""
  counts = {}
  for flag, inner, marks in _list_options(kind, "--"):
    if inner is bool:
      # Of a section, too: --model.no-box-gradient.
      section, _, name = flag.removeprefix("--").rpartition(".")
      counts |= {flag: 0, f"--{section}{'.' if section else ''}no-{name}": 0}
    else:
      counts[flag] = 1 if tyro.conf.UseAppendAction in marks else _count(inner)
  return counts


def list_choices(kind: Any) -> dict[str, tuple[str, ...]]:
  """Returns the texts among which each option of a dataclass that takes several is chosen."""
  choices = {}
  for flag, inner, _ in _list_options(kind, "--"):
    for part in (inner, *typing.get_args(inner)):  # The parts of `tuple[...] | None`.
      item = (*typing.get_args(part), None)[0]
      if typing.get_origin(part) is tuple and typing.get_origin(item) is typing.Literal:
        choices[flag] = typing.get_args(item)
  return choices


def _list_options(kind, prefix):
  """Yields (flag, type, marks) of each option of a dataclass and of the dataclasses in it."""
  for name, hint in typing.get_type_hints(kind, include_extras=True).items():
    marks = getattr(hint, "__metadata__", ())
    inner = typing.get_args(hint)[0] if marks else hint
    flag = prefix + name.replace("_", "-")
    if dataclasses.is_dataclass(inner):
      yield from _list_options(inner, prefix if FLAT in marks else f"{flag}.")
    else:
      yield flag, inner, marks


def _count(hint: Any) -> int | None:
  parts = typing.get_args(hint)
  if type(None) in parts:
    return _count(parts[0])
  if typing.get_origin(hint) is not tuple:
    return 1
  return None if Ellipsis in parts else sum(_count(part) or 0 for part in parts)
