import json
import socket

s = socket.socket(fileno=3)
buf = bytearray(65536)
view = memoryview(buf)
while True:
    n = s.recv_into(buf)
    if not n:
        break
    end = 4 + int.from_bytes(buf[:4], "big")
    while n < end:
        n += s.recv_into(view[n:])
    event = json.loads(buf[4:end])
    data = json.dumps(event).encode()
    s.sendall(len(data).to_bytes(4, "big") + data)
