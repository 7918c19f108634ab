"""Many devices and many hosts."""

from mnc_jax.parallel.hosts import check_same as check_same
from mnc_jax.parallel.hosts import fail_together as fail_together
from mnc_jax.parallel.hosts import gather as gather
from mnc_jax.parallel.hosts import is_first as is_first
from mnc_jax.parallel.hosts import join_hosts as join_hosts
from mnc_jax.parallel.hosts import must_end as must_end
from mnc_jax.parallel.hosts import process_count as process_count
from mnc_jax.parallel.mesh import AXIS as AXIS
from mnc_jax.parallel.mesh import cut as cut
from mnc_jax.parallel.mesh import on_all_devices as on_all_devices
from mnc_jax.parallel.mesh import replicate as replicate
from mnc_jax.parallel.mesh import shard as shard
from mnc_jax.parallel.mesh import unreplicate as unreplicate
from mnc_jax.parallel.mesh import unshard as unshard
from mnc_jax.parallel.mesh import weighted_mean as weighted_mean
