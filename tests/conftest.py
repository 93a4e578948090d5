"""Of all tests: how hypothesis runs them.

Its limits on time measure the machine here, which may be busy, and not the code.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("drybag", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("drybag")
