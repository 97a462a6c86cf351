"""What holds for all tests: examples have no deadline, since how fast the machine is at that moment is not what they test."""

import hypothesis

hypothesis.settings.register_profile("metallb", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("metallb")
