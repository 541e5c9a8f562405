"""Frames are judged by their header, before anybody waits for their content."""

from websocket import ABNF, WebSocketProtocolException, frame_buffer

from .const import MESSAGE_LIMIT_BYTES

_CONTROL = 0x8  # opcodes from here on are control frames
_CONTROL_LIMIT_BYTES = 125


class StrictFrames(frame_buffer):
    """Refuses a frame that no Home Assistant sends as soon as its header is there.

    websocket-client looks at a frame when it is complete: garbage that claims a
    length of 2^63 bytes would be waited for until the link counts as dead.
    """

    def recv_header(self) -> None:  # pylint: disable=missing-return
        super().recv_header()
        assert self.header is not None
        _fin, rsv1, rsv2, rsv3, opcode, has_mask, _length = self.header
        if rsv1 or rsv2 or rsv3 or has_mask or opcode not in ABNF.OPCODES:
            raise WebSocketProtocolException("not a frame of a WebSocket server")

    def recv_length(self) -> None:  # pylint: disable=missing-return
        super().recv_length()
        assert self.header is not None and self.length is not None
        is_control = self.header[4] >= _CONTROL
        if self.length > (_CONTROL_LIMIT_BYTES if is_control else MESSAGE_LIMIT_BYTES):
            raise WebSocketProtocolException(f"a frame of {self.length} bytes")
