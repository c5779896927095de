"""GF(2^128) as GHASH has it (NIST SP 800-38D), to build one AES-GCM ciphertext that two keys open.

After Dodis, Grubbs, Ristenpart, Woodage, "Fast Message Franking" (2018), section 3: without a
commitment to the key, GCM's tag does not bind it.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_R = 0xE1 << 120


def multiply(left: int, right: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if right >> bit & 1:
            product ^= left
        left = left >> 1 ^ (_R if left & 1 else 0)
    return product


def inverse(value: int) -> int:
    result, exponent = 1 << 127, 2**128 - 2
    while exponent:
        if exponent & 1:
            result = multiply(result, value)
        value = multiply(value, value)
        exponent >>= 1
    return result


def block(key: bytes, data: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(data), "big")


def ghash(hash_key: int, blocks: list[int]) -> int:
    total = 0
    for item in blocks:
        total = multiply(total ^ item, hash_key)
    return total


def padded_blocks(data: bytes) -> list[int]:
    data = data.ljust(-(-len(data) // 16) * 16, b"\0")
    return [int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)]


def two_key_ciphertext(first: bytes, second: bytes, nonce: bytes, data: bytes) -> bytes:
    """ciphertext||tag of 32 + 16 bytes that is valid under both keys with this nonce and associated data."""
    hash_keys = [block(key, bytes(16)) for key in (first, second)]
    masks = [block(key, nonce + b"\0\0\0\1") for key in (first, second)]
    ahead = padded_blocks(data)
    lengths = len(data) * 8 << 64 | 32 * 8
    chosen = int.from_bytes(b"one ciphertext, ", "big")
    # tag = mask ^ GHASH(…, chosen, x, lengths), and x is one unknown in one linear equation.
    constants = [
        mask ^ ghash(key, [*ahead, chosen, 0, lengths]) for mask, key in zip(masks, hash_keys, strict=True)
    ]
    squares = [multiply(key, key) for key in hash_keys]
    unknown = multiply(constants[0] ^ constants[1], inverse(squares[0] ^ squares[1]))
    tag = constants[0] ^ multiply(unknown, squares[0])
    return b"".join(value.to_bytes(16, "big") for value in (chosen, unknown, tag))
