"""Small mistakes that a Solidity file could contain: one change each, found in the compiler's syntax tree."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

BINARY = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "&&": ("||",),
    "||": ("&&",),
    "&": ("|",),
    "|": ("&",),
    "<<": (">>",),
    ">>": ("<<",),
}
ASSIGNMENT = {"+=": ("-=", "="), "-=": ("+=", "="), "|=": ("=",), "&=": ("=",)}
YUL = {"add": "sub", "sub": "add", "shl": "shr", "shr": "shl", "and": "or", "or": "and"}
STATEMENTS = {"ExpressionStatement", "EmitStatement", "RevertStatement"}
YUL_STATEMENTS = {"YulExpressionStatement", "YulAssignment"}

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`source[start:end]` (bytes) becomes `text`. `id` outlives changes elsewhere in the file."""

    id: str
    file: str
    line: int
    start: int
    end: int
    before: str
    text: str

    def apply(self, source: bytes) -> bytes:
        """The source with the mistake."""
        return source[: self.start] + self.text.encode() + source[self.end :]


@dataclass(slots=True)
class Mutator:
    """Makes the mutants of one file out of its syntax tree."""

    file: str
    source: bytes
    _seen: Counter[str] = field(default_factory=Counter)

    def mutants(self, tree: Node) -> Iterator[Mutant]:
        """All of them, each function's in the order of its syntax tree."""
        yield from self._walk(tree, "")

    def _walk(self, node: Node, function: str) -> Iterator[Mutant]:
        if node.get("nodeType") in {"FunctionDefinition", "ContractDefinition"}:
            function = node["name"] or node.get("kind", "")
        for start, end, text in self._changes(node):
            yield self._mutant(function, start, end, text)
        for child in node.values():
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, dict):
                    yield from self._walk(item, function)

    def _mutant(self, function: str, start: int, end: int, text: str) -> Mutant:
        before = self.source[start:end].decode()
        # The words of the line tell apart what the change alone does not.
        first = self.source.rfind(b"\n", 0, start) + 1
        line = self.source[first : self.source.find(b"\n", start)].decode().strip()
        key = "\0".join((self.file, function, line, before, text))
        self._seen[key] += 1
        digest = hashlib.sha256(f"{key}\0{self._seen[key]}".encode()).hexdigest()[:10]
        return Mutant(digest, self.file, self.source.count(b"\n", 0, start) + 1, start, end, before, text)

    def _changes(self, node: Node) -> Iterator[tuple[int, int, str]]:
        kind = node.get("nodeType")
        start, end = _span(node)
        if kind == "BinaryOperation":
            gap = _span(node["leftExpression"])[1], _span(node["rightExpression"])[0]
            yield from self._operator(*gap, node["operator"], BINARY.get(node["operator"], ()))
        elif kind == "Assignment":
            gap = _span(node["leftHandSide"])[1], _span(node["rightHandSide"])[0]
            yield from self._operator(*gap, node["operator"], ASSIGNMENT.get(node["operator"], ()))
        elif kind == "UnaryOperation" and node["operator"] == "!":
            yield start, start + 1, ""
        elif kind == "Literal" and node["kind"] == "number":
            yield start, end, f"({self.source[start:end].decode()} + 1)"
        elif kind == "ModifierInvocation" and node.get("kind") != "baseConstructorSpecifier":
            yield start, end, ""
        elif kind == "Conditional":
            parts = [_span(node[name]) for name in ("trueExpression", "falseExpression")]
            yield from self._swap(*parts)
        elif kind == "IfStatement":
            first, last = _span(node["condition"])
            yield first, last, "false"
            yield first, last, "true"
        elif kind == "FunctionCall" and node["kind"] == "functionCall":
            yield from self._arguments(node["arguments"])
        elif kind == "Return" and node.get("expression") and node["expression"]["nodeType"] != "Literal":
            first, last = _span(node["expression"])
            yield first, last, "0"
        elif kind == "YulLiteral" and node["kind"] == "number":
            yield start, end, str(int(node["value"], 0) + 1)
        elif kind == "YulFunctionCall" and node["functionName"]["name"] in YUL:
            first, last = _span(node["functionName"])
            yield first, last, YUL[node["functionName"]["name"]]
        if kind in STATEMENTS:
            yield start, end + (self.source[end : end + 1] == b";"), "{}"
        elif kind in YUL_STATEMENTS:
            yield start, end, "{}"

    def _operator(
        self, start: int, end: int, operator: str, others: tuple[str, ...]
    ) -> Iterator[tuple[int, int, str]]:
        at = self.source.index(operator.encode(), start, end) if others else start
        for other in others:
            yield at, at + len(operator), other

    def _arguments(self, arguments: list[Node]) -> Iterator[tuple[int, int, str]]:
        for left, right in pairwise(arguments):
            types = [argument["typeDescriptions"].get("typeString") for argument in (left, right)]
            if types[0] == types[1]:
                yield from self._swap(_span(left), _span(right))

    def _swap(self, left: tuple[int, int], right: tuple[int, int]) -> Iterator[tuple[int, int, str]]:
        texts = [self.source[slice(*span)].decode() for span in (left, right)]
        if texts[0] != texts[1]:
            between = self.source[left[1] : right[0]].decode()
            yield left[0], right[1], texts[1] + between + texts[0]


def _span(node: Node) -> tuple[int, int]:
    if "src" not in node:
        return 0, 0
    start, length, _ = map(int, node["src"].split(":"))
    return start, start + length
