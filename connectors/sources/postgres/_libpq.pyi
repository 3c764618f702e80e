from connectors.sources.postgres.frames import Frames

def fill(
    frames: Frames,
    connection: int,
    get_copy_data: int,
    consume_input: int,
    freemem: int,
    enough: int,
) -> int: ...
