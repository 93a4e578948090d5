"""The speed of a serial line: the fastest that both ends and the wire between them stand.

Every session begins at 115200 baud and ends there (HandsetLink.close). A speed at which nothing,
or something damaged, comes through is left again, and not tried again in this run.
"""

RATES = (2000000, 921600, 460800, 230400)
_DAMAGED_FRAMES = 3


class LineSpeed:
    """`fixed`: this baud rate and no other; None: what the port stands, if it is a UART's line."""

    def __init__(self, fixed=None):
        self._rates = [fixed] if fixed else list(RATES)
        self._fixed = fixed
        self._link = None
        self.baud = None

    def apply(self, link):
        """Bring a fresh HandsetLink to speed; returns the baud rate, None where there is none.

        After a link that broke with damaged frames at its speed, the next lower one is tried.
        """
        if not self._fixed and not getattr(link.console, "has_speed", False):
            return None
        broken, self._link = self._link, link
        if broken is not None and self._rates and broken.damaged_frames > _DAMAGED_FRAMES:
            self._rates.pop(0)
        link.hello(allow_fault=True)
        while self._rates and self._rates[0] != link.console.baud:
            if link.speed_up(self._rates[0]):
                break
            self._rates.pop(0)
        self.baud = link.console.baud
        return self.baud
