"""A stack machine for the part of the pickle language that ``torch.save`` writes; it builds data and does nothing else.

Compared with ``pickle.Unpickler``: a name is an exact look-up in ``tables.GLOBALS`` (no import, no attribute), only the
functions of that table are called, an instance is an inert ``Node``, and sizes are limited.
"""

import io
import pickletools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from utils.checkpoint.tables import (
    GLOBALS,
    InertClass,
    Node,
    NumpyArray,
    NumpyType,
    RefusedError,
    describe,
    scalar_keys,
)

MAX_OPERATIONS = 3_000_000
MAX_MARKS = 1_000
MAX_STACK = 100_000
MAX_INT_BITS = 128
MAX_TEXT = 2**20
MAX_CALL_INPUT = 2**22


def run_pickle(file: io.BytesIO, resolve_id: Callable[[Any], Any]) -> Any:
    """Return the value of the pickle at the file's position and leave the position behind it.

    ``resolve_id`` turns a persistent id (how ``torch.save`` names a storage) into a value.
    Raises: RefusedError for anything outside the tables, ValueError and its like for damaged data.
    """
    machine = _Machine(resolve_id)
    for count, (opcode, argument, _position) in enumerate(pickletools.genops(file)):
        if opcode.name == "STOP":
            return machine.pop()
        operation = _OPERATIONS.get(opcode.name)
        if operation is None:
            raise RefusedError(f"the pickle instruction {opcode.name}")
        operation(machine, argument)
        if count > MAX_OPERATIONS or len(machine.stack) > MAX_STACK or len(machine.marks) > MAX_MARKS:
            raise RefusedError("more instructions or deeper nesting than any checkpoint has")
    raise ValueError("the pickle has no end")


class _Machine:
    """The stack since the last mark, the stacks before it, and the memo."""

    def __init__(self, resolve_id: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.call_input = 0
        self.resolve_id = resolve_id

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def mark(self, _argument: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def target(self, kind: type) -> Any:
        """Return the container on top of the stack. Raises: RefusedError when it is not exactly a ``kind``."""
        if type(self.stack[-1]) is not kind:
            raise RefusedError(f"items put into {describe(self.stack[-1])}")
        return self.stack[-1]

    # One method per instruction from here on; ``argument`` is what stands behind the opcode.

    def number(self, argument: int | float) -> None:
        if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
            raise RefusedError(f"a number of {argument.bit_length()} bits")
        self.push(argument)

    def text(self, argument: str | bytes) -> None:
        if len(argument) > MAX_TEXT:
            raise RefusedError(f"a text of {len(argument)} characters")
        self.push(argument)

    def put(self, argument: int) -> None:
        self.memo[argument] = self.stack[-1]

    def memoize(self, _argument: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, argument: int) -> None:
        self.push(self.memo[argument])

    def make_tuple(self, _argument: None) -> None:
        items = self.pop_to_mark()
        self.push(tuple(items))

    def append(self, _argument: None) -> None:
        item = self.pop()
        self.target(list).append(item)

    def appends(self, _argument: None) -> None:
        items = self.pop_to_mark()
        self.target(list).extend(items)

    def add_items(self, _argument: None) -> None:
        items = self.pop_to_mark()
        self.target(set).update(scalar_keys(items))

    def set_item(self, _argument: None) -> None:
        value, key = self.pop(), self.pop()
        self.target(dict).update(zip(scalar_keys([key]), [value], strict=True))

    def set_items(self, _argument: None) -> None:
        items = self.pop_to_mark()
        self.target(dict).update(zip(scalar_keys(items[::2]), items[1::2], strict=True))

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push(_look_up(module, name))

    def named_from_stack(self, _argument: None) -> None:
        name, module = self.pop(), self.pop()
        self.push(_look_up(module, name))

    def call(self, _argument: None) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not FunctionType or type(arguments) is not tuple:
            raise RefusedError(f"a call of {describe(function)}")
        self.call_input += sum(len(argument) for argument in arguments if hasattr(argument, "__len__"))
        if self.call_input > MAX_CALL_INPUT:  # a short pickle could otherwise copy one long text a million times
            raise RefusedError("calls with more data than any checkpoint has")
        self.push(function(*arguments))

    def new_object(self, _argument: None) -> None:
        arguments, kind = self.pop(), self.pop()
        if type(kind) is not InertClass or arguments != ():
            raise RefusedError(f"an instance of {describe(kind)} made with arguments")
        self.push(Node(kind))

    def build(self, _argument: None) -> None:
        state, instance = self.pop(), self.stack[-1]
        if isinstance(instance, Node | NumpyArray | NumpyType):
            instance.build(state)
        elif type(instance) is not dict:  # an OrderedDict's own attributes (state_dict's _metadata) are dropped
            raise RefusedError(f"a state for {describe(instance)}")

    def persistent(self, _argument: None) -> None:
        self.push(self.resolve_id(self.pop()))


def _look_up(module: Any, name: Any) -> Any:
    if type(module) is not str or type(name) is not str or (module, name) not in GLOBALS:
        raise RefusedError(f"the name {describe(f'{module}.{name}' if type(module) is type(name) is str else None)}")
    return GLOBALS[module, name]


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _argument: machine.push(make())


def _short_tuple(size: int) -> Callable[[_Machine, Any], None]:
    def operation(machine: _Machine, _argument: None) -> None:
        items = [machine.pop() for _ in range(size)]
        machine.push(tuple(items[::-1]))

    return operation


def _nothing(_machine: _Machine, _argument: Any) -> None:
    """Protocol and frame markers say how to read on, which pickletools does."""


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.number),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"), _Machine.text),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_SET": _constant(set),
    "EMPTY_TUPLE": _constant(tuple),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.add_items,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
