"""What does a node of this application run? `turnlog node --app app:registry` in this directory."""

import activities
import orchestrations
from engine import Registry

ORCHESTRATIONS = [orchestrations.fleet, orchestrations.provision, orchestrations.watch]
ACTIVITIES = [
    activities.reserve_port,
    activities.release_port,
    activities.start_process,
    activities.stop_process,
    activities.check_health,
    activities.register,
    activities.deregister,
]

registry = Registry(orchestrations=ORCHESTRATIONS, activities=ACTIVITIES)
