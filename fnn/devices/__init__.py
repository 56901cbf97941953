"""Many devices, by jax.sharding: one program over a mesh; and several processes.

mesh = fnn.devices.mesh(data=8)
state = fnn.devices.place(plan, fnn.start(plan, key), mesh, "fsdp")
state, history = fnn.fit(plan, state, data, epochs=3, batch_size=256)
"""

from fnn.devices.meshes import mesh as mesh
from fnn.devices.placing import gathered as gathered
from fnn.devices.placing import place as place
from fnn.devices.processes import is_first as is_first
from fnn.devices.processes import join as join
from fnn.devices.processes import wait as wait
