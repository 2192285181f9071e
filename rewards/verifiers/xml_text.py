"""XML as a value of JSON, without document types, entities or anything from elsewhere."""

from typing import Any
from xml.etree.ElementTree import ParseError, TreeBuilder

from rewards.verifiers.json_text import MAX_DEPTH, Malformed


class _BoundedTree(TreeBuilder):
    """Stops at an element that is nested too deep, before the tree is built."""

    depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self.depth += 1
        if self.depth >= MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Any:
        self.depth -= 1
        return super().end(tag)


def parse_xml(text: str) -> dict[str, Any]:
    """`{root: value}`. Raises Malformed.

    The value of an element with text alone is that text, without white space around it. Any other is an object:
    `@name` for each attribute, `#text` for its text if any, and each child's value under its tag, in an array where
    the tag comes more than once. Namespaces are spelled out as `{uri}tag`.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=_BoundedTree(), forbid_dtd=True)
    try:
        parser.feed(text)
        root = parser.close()
    except DefusedXmlException as error:
        raise Malformed(f"{type(error).__name__}: document types and entities are refused") from error
    except ParseError as error:
        raise Malformed(f"not XML: {error}") from error
    return {root.tag: _value(root)}


def _value(element: Any) -> Any:
    words = [text.strip() for text in (element.text, *(child.tail for child in element)) if text and text.strip()]
    text = " ".join(words)
    if not len(element) and not element.attrib:
        return text
    value: dict[str, Any] = {f"@{name}": content for name, content in element.attrib.items()}
    children: dict[str, list[Any]] = {}
    for child in element:
        children.setdefault(child.tag, []).append(_value(child))
    value |= {tag: values if len(values) > 1 else values[0] for tag, values in children.items()}
    return value | ({"#text": text} if text else {})
