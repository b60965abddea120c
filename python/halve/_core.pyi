# csrc/bindings/wire.cc
class WireError(ValueError):
    args: tuple[str, int]

def wire_elide_file(
    fd: int, size: int, threshold: int
) -> tuple[bytes, list[tuple[int, list[tuple[int, int, int]]]]]: ...
def wire_elide_bytes(
    data: bytes, threshold: int
) -> tuple[bytes, list[tuple[int, list[tuple[int, int, int]]]]]: ...
def wire_splice(
    skeleton: bytes, table: list[tuple[int, int]]
) -> tuple[int, list[tuple[int, bytes | int]]]: ...
