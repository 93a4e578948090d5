"""A small seeded generator of random numbers, equal on MicroPython and CPython."""


class Rng:
    """xorshift32 from a scrambled seed: small, and equal on MicroPython and CPython."""

    def __init__(self, seed):
        x = (seed ^ (seed >> 32)) & 0xFFFFFFFF
        for _ in range(2):
            x = ((x ^ (x >> 16)) * 0x45D9F3B + 0x9E3779B9) & 0xFFFFFFFF
        self._x = (x ^ (x >> 16)) or 0x6D2B79F5

    def next32(self):
        x = self._x
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._x = x
        return x

    def below(self, n):
        """A number from 0 to n - 1."""
        return (self.next32() * n) >> 32

    def bits(self, n_bytes):
        """An int of `n_bytes` random bytes."""
        out = bytearray(n_bytes)
        for i in range(0, n_bytes, 4):
            x = self.next32()
            for k in range(i, min(i + 4, n_bytes)):
                out[k] = x & 0xFF
                x >>= 8
        return int.from_bytes(out, "little")

    def subset(self, mask, n_bytes):
        """Any subset of the set bits of `mask`: none, few, a quarter ... all but a few, all."""
        how = self.below(8)
        if how == 0:
            return 0
        if how == 1:
            return mask
        if how == 2:
            return self._single_bits(mask, n_bytes)
        if how == 3:
            return mask & ~self._single_bits(mask, n_bytes)
        picked = mask & self.bits(n_bytes)
        if how == 4:
            picked &= self.bits(n_bytes)
        elif how == 5:
            picked |= mask & self.bits(n_bytes)
        return picked

    def _single_bits(self, mask, n_bytes):
        """One to three of the bits of `mask`, if that many are soon found."""
        out = 0
        wanted = 1 + self.below(3)
        for _ in range(64):
            bit = mask & (1 << self.below(n_bytes * 8))
            if bit:
                out |= bit
                wanted -= 1
                if not wanted:
                    break
        return out
