"""gRPC over HTTP/2 on asyncio: what carries a call's bytes from one process to another, and nothing of what they say.

Why it is ours: grpc.aio takes some 200 us of processor time for a call that does nothing, wherever it is
called from, which was more than everything else that the bank does for a transfer. Here a burst of calls is read
by one `recv` and answered by one `send`. HPACK's tables and Huffman code are the `hpack` library's, TLS is
Python's `ssl`. It speaks with any gRPC implementation: tests let grpcio's client and server talk to both ends,
and h2, an implementation of its own, to the frames.

Never here: messages, methods, errors of a bank, or anything that imports them.
"""
