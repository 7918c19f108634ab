"""Reads a page into a tree, strictly: every tag is closed, in order."""

import html.parser

_VOID = {"meta", "link", "img", "br", "input"}


class Node:
  """An element: its tag, attributes, parent and children; texts are children too."""

  def __init__(self, tag, attributes, parent):
    self.tag, self.attributes, self.parent, self.children = tag, attributes, parent, []

  def walk(self):
    yield self
    for child in self.children:
      if isinstance(child, Node):
        yield from child.walk()

  def find(self, tag, **attributes):
    """Returns all of a tag below; `class_` asks for one class, `data_x` for data-x."""
    wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
    one_class = wanted.pop("class-", None)
    return [node for node in self.walk() if node.tag == tag
            and (one_class is None or one_class in node.attributes.get("class", "").split())
            and all(node.attributes.get(name) == value for name, value in wanted.items())]

  def text(self):
    parts = (child.text() if isinstance(child, Node) else child for child in self.children)
    return " ".join(" ".join(parts).split())


class _Reader(html.parser.HTMLParser):

  def __init__(self):
    super().__init__()
    self.root = self.here = Node("root", {}, None)

  def handle_starttag(self, tag, attrs):
    assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
    node = Node(tag, dict(attrs), self.here)
    self.here.children.append(node)
    if tag not in _VOID:
      self.here = node

  def handle_endtag(self, tag):
    assert tag == self.here.tag, f"</{tag}> closes <{self.here.tag}>, line {self.getpos()[0]}"
    self.here = self.here.parent

  def handle_data(self, data):
    self.here.children.append(data)


def read_page(path):
  reader = _Reader()
  reader.feed(path.read_text(encoding="utf-8"))
  reader.close()
  assert reader.here is reader.root, f"<{reader.here.tag}> is not closed"
  return reader.root
