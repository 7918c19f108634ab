"""What docstrings say. A public function's, in Google style:

  `Args:` names every argument; a docstring without that section names them in its text, or
    says that "Arguments are those of" another function.
  What it returns is told under `Returns:` or `Yields:`, or by a sentence that begins with
  Returns, Yields or Says whether. (A property is named like what it returns.)
  `Raises:` names every exception that its own body raises, in short docstrings too; or they
    say that "errors are those of" another function.

A public class tells its fields under `Attributes:`, or each in a string below it. An operation
that `mnc_jax` exports has all sections, and two more: `Degenerate input:`, what empty boxes,
padding, NaN and the like give, and `Gradient:`, where it flows and where not.
"""

import ast
import doctest
import re

from rules.source import LIBRARY, functions_of, imported_modules

# A heading of a section, alone on its line, and the indented lines below it.
_SECTION = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?):\n((?:  .*\n?|\n)+)", re.MULTILINE)
_SAYS_WHAT_IT_RETURNS = re.compile(r"(?:^|[.:;]\s+)(?:Returns|Yields|Says whether)\b")
_ARGUMENTS_OF_ANOTHER = re.compile(r"\bArguments\b[\w\s,]* are\s+those of\s+`")
_ERRORS_OF_ANOTHER = re.compile(r"\berrors\s+are\s+those of\s+`")
OF_OPERATIONS = ("Args", "Returns", "Degenerate input", "Gradient", "Example")
# Exported names that are no operations, so that an example would show nothing that they do.
WITHOUT_EXAMPLE = {
    "Batch": "a container of arrays, made in the examples of `cascade_loss` and `train_step`",
    "Config": "numbers with their sources, made in the example of `predict`",
    "Instances": "a container of arrays, read in the examples of `vote_masks` and `predict`",
    "TrainState": "a container of arrays, made and read in the example of `init_state`",
}
# Exported functions that are no operations on arrays, and which sections have no meaning there.
NOT_ON_ARRAYS = {"with_categories": {"Degenerate input", "Gradient"}}


def exported_names(tree):
  """Returns {name: path of its file} of what the package's `__init__.py` exports."""
  names = (name.split(".")[1:] for name, _ in imported_modules(tree))
  return {name: "/".join(pieces) + ".py" for *pieces, name in names}


EXPORTED = exported_names(LIBRARY["__init__.py"])


def check_docstrings(path, tree):
  """Modules, public functions, classes and methods say what they are for."""
  faults = [f"{path}:{node.lineno}: {node.name} has no docstring"
            for node in _classes(tree) + _functions(tree) if not ast.get_docstring(node)]
  return faults if ast.get_docstring(tree) else [*faults, f"{path}: no docstring"]


def check_arguments(path, tree):
  """Every argument of a public function is told."""
  faults = []
  for node in _functions(tree):
    text = ast.get_docstring(node) or ""
    section = _docstring(node)[1].get("Args")
    pattern = r"\b{}\b" if section is None else r"^  \*{{0,2}}{}: "
    faults += [f"{path}:{node.lineno}: {node.name} does not tell its argument {name!r}"
               for name in _arguments(node) if not _ARGUMENTS_OF_ANOTHER.search(text)
               and not re.search(pattern.format(name), section or text, re.MULTILINE)]
  return faults


def check_returns(path, tree):
  """A public function that returns something says what."""
  return [f"{path}:{node.lineno}: {node.name} does not say what it returns"
          for node in _functions(tree) if _returns(node) and not _is_property(node)
          and not {"Returns", "Yields"} & _docstring(node)[1].keys()
          and not _SAYS_WHAT_IT_RETURNS.search(_docstring(node)[0])]


def check_raises(path, tree):
  """A public function tells what its body raises."""
  return [f"{path}:{node.lineno}: {node.name} does not tell that it raises {error or 'again'}"
          for node in _functions(tree) for error in sorted(_raised(node))
          if not re.search(rf"\b{error}\b", _docstring(node)[1].get("Raises", ""))
          and not _ERRORS_OF_ANOTHER.search(ast.get_docstring(node) or "")]


def check_fields(path, tree):
  """Every field of a public class is told."""
  faults = []
  for node in _classes(tree):
    told = _docstring(node)[1].get("Attributes", "")
    faults += [f"{path}:{field.lineno}: {node.name} does not tell its field {field.target.id!r}"
               for field, below in zip(node.body, [*node.body[1:], None], strict=True)
               if isinstance(field, ast.AnnAssign) and not _is_flax_module(node)
               and not _is_text(below)
               and not re.search(rf"^  {field.target.id}: ", told, re.MULTILINE)]
  return faults


def check_exported(path, tree):
  """An exported operation has all sections, and an example that shows a number."""
  faults = []
  for node in _functions(tree):
    if EXPORTED.get(node.name) == path:
      told = _docstring(node)[1]
      needed = [name for name in OF_OPERATIONS if name not in NOT_ON_ARRAYS.get(node.name, ())]
      faults += [f"{path}:{node.lineno}: {node.name} has no section {name!r}"
                 for name in needed if name not in told]
      if "Example" in told and not _shows_a_number(told["Example"]):
        faults.append(f"{path}:{node.lineno}: the example of {node.name} shows no number")
  return faults


def _shows_a_number(example):
  """Says whether a doctest compares what it prints with something that has digits."""
  return any(re.search(r"\d", case.want) for case in doctest.DocTestParser().get_examples(example))


def _docstring(node):
  """Returns `(text before the first section, {heading: its lines})`."""
  text = ast.get_docstring(node) or ""
  found = list(_SECTION.finditer(text))
  return text[:found[0].start()] if found else text, {part[1]: part[2] for part in found}


def _classes(tree):
  return [node for node in tree.body
          if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def _functions(tree):
  return [node for node in functions_of(tree, public=True) if not node.name.startswith("__")]


def _arguments(node):
  """Returns the names of all arguments but `self` and `cls`."""
  given = node.args
  all_of_them = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
  return [each.arg for each in all_of_them if each and each.arg not in ("self", "cls")]


def _own_nodes(node):
  """Yields what a function's body holds, without the functions and classes inside it."""
  for child in ast.iter_child_nodes(node):
    if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
      yield child
      yield from _own_nodes(child)


def _returns(node):
  """Says whether a function returns or yields a value; `return`, `yield` and None are none."""
  handed_out = [child.value for child in _own_nodes(node)
                if isinstance(child, ast.Return | ast.Yield | ast.YieldFrom)]
  return any(value is not None and ast.unparse(value) != "None" for value in handed_out)


def _raised(node):
  """Returns the names of the exceptions that a function raises; "" for one that it passes on."""
  raised = [getattr(child.exc, "func", child.exc) for child in _own_nodes(node)
            if isinstance(child, ast.Raise)]
  names = [ast.unparse(error).split(".")[-1] if error else "" for error in raised]
  return {name if name[:1].isupper() else "" for name in names}


def _is_property(node):
  return any(getattr(each, "id", getattr(each, "attr", "")) in ("property", "cached_property")
             for each in node.decorator_list)


def _is_flax_module(node):
  """Says whether a class holds weights: its fields are those of the config it is made from."""
  return "nn.Module" in map(ast.unparse, node.bases)


def _is_text(node):
  return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


CHECKS = (check_docstrings, check_arguments, check_returns, check_raises, check_fields,
          check_exported)
